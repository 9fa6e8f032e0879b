"""The public face: documented names, parameters in memory, and imports that stay light."""

import inspect
import re
import subprocess
import sys

import numpy as np
import pytest
from conftest import drawn_parameters

import ycc_jax


def modules_after(statement):
    code = f"import sys; {statement}; print(*sys.modules)"
    out = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120
    )
    return set(out.stdout.split())


def test_every_public_name_exists_and_is_documented():
    for name in ycc_jax.__all__:
        assert getattr(ycc_jax, name).__doc__, name
    assert set(ycc_jax.__all__) <= set(dir(ycc_jax))
    with pytest.raises(AttributeError, match="has no attribute 'encod'"):
        getattr(ycc_jax, "enc" + "od")


def public_functions():
    """(name, function) of what `__all__` and the public methods of `Codec` are; errors aside."""
    for name in ycc_jax.__all__:
        found = getattr(ycc_jax, name)
        if inspect.isfunction(found):
            yield name, found
    for name, found in inspect.getmembers(ycc_jax.Codec, inspect.isroutine):
        if not name.startswith("_"):
            yield f"Codec.{name}", found


def test_a_public_function_says_what_it_takes_gives_and_refuses():
    """Every argument by name; what comes back; errors, where it can have any."""
    for name, function in public_functions():
        doc = inspect.getdoc(function)
        for argument in inspect.signature(function).parameters.values():
            if argument.name not in ("self", "cls"):
                assert re.search(rf"\b{argument.name}\b", doc), f"{name}: argument {argument.name}"
        if str(inspect.signature(function).return_annotation) != "None":
            # A first line may say what it gives: "A codec from a codec model."
            assert re.search(r"Returns:|\A(A|An|The|What) ", doc), f"{name}: what it returns"
        # Nothing is wrong with any seed.
        assert "Raises:" in doc or name == "init", f"{name}: errors"


def test_shapes_and_units_are_told():
    """Where pictures, latents or levels come in, their shape and range stand in the docstring."""
    for name in ("Codec.encode", "Codec.decode", "Codec.from_params", "export_model"):
        assert "(H, W, 3)" in inspect.getdoc(dict(public_functions())[name]), name
    assert "[0, 1], RGB (B, H, W, 3)" in inspect.getdoc(ycc_jax.rate_distortion)
    assert "(1, 2)" in inspect.getdoc(ycc_jax.level_of)
    assert re.search(r"Minnen et al. 2018.*Cui et al. 2021", ycc_jax.HyperpriorModel.__doc__, re.S)


TINY = dict(N=4, M=6, levels=3, chroma_weights=(0.1, 1.0), entropy_width=4, surrogate="mixed")


def test_parameters_in_memory_code_as_those_of_a_folder(photo, tmp_path):
    params, picture = drawn_parameters(ycc_jax.build(**TINY)), photo[:70, :90]
    options = dict(calibration=[photo[:64, :64]])
    codec = ycc_jax.Codec.from_params(params, TINY, **options)
    digest = ycc_jax.export_model(
        tmp_path / "m", name="tiny", arguments=TINY, params=params, **options
    )
    assert codec.model.hash == digest
    folder = ycc_jax.load(tmp_path / "m")
    streams = codec.encode_batch([picture, picture[:64], picture], quality=[10, 90, 10], chroma=0.5)
    assert streams[0] == streams[2] == folder.encode(picture, 10, chroma=0.5)
    pictures = folder.decode_batch(streams)
    assert [p.shape for p in pictures] == [(70, 90, 3), (64, 90, 3), (70, 90, 3)]
    with pytest.raises(ycc_jax.InputError, match="a quality for each of 1 pictures, found 2"):
        codec.encode_batch([picture], quality=[10, 90])
    with pytest.raises(ValueError, match="expected parameter params/analysis/.*, found none"):
        ycc_jax.Codec.from_params({}, TINY)


def test_levels():
    model = ycc_jax.build(**TINY)
    np.testing.assert_allclose(ycc_jax.level_of(model, 25, chroma=1.0), [[0.5, 1.0]])
    np.testing.assert_allclose(ycc_jax.level_of(model)[0, 0], 1.0)
    single = ycc_jax.build(N=4, M=6, levels=0, level_aware=False)
    np.testing.assert_array_equal(ycc_jax.level_of(single), [[0.0]])
    with pytest.raises(ycc_jax.InputError, match="a quality from 0 to 100, found 101"):
        ycc_jax.level_of(model, 101)


@pytest.mark.parametrize(
    "level, message",
    [
        (np.zeros(1), r"levels of shape \(B, 2\), found \(1,\)"),
        (np.zeros((1, 3)), r"levels of shape \(B, 2\), found \(1, 3\)"),
        ([[2.5, 0.0]], "rate levels from 0 to 2, found 2.5"),
        ([[0.0, -1.0]], "levels of chroma from 0 to 1, found -1"),
        ([[np.nan, 0.0]], "rate levels from 0 to 2, found nan"),
    ],
)
def test_levels_that_the_model_does_not_have(level, message):
    model = ycc_jax.build(**TINY)
    with pytest.raises(ValueError, match=message):
        model.apply({"params": {}}, np.zeros((1, 64, 64, 3)), np.asarray(level))


def test_reading_a_header_imports_nothing_heavy():
    loaded = modules_after("import ycc_jax; ycc_jax.info")
    assert not loaded & {"jax", "flax", "numpy", "numba", "PIL", "tensorflow", "scipy"}


def test_the_codec_imports_no_training_library():
    loaded = modules_after("import ycc_jax; ycc_jax.load")
    assert "jax" in loaded
    assert not loaded & {"tensorflow", "ml_collections", "grain", "tensorflow_datasets", "train"}


def test_the_trainer_needs_only_its_core_libraries():
    """It also runs where only jax, flax, optax, orbax, numpy, pillow and ml_collections are."""
    block = (
        "sys.modules.update(dict.fromkeys(('grain', 'tensorflow_datasets', 'skimage', 'tqdm',"
        " 'tensorboard', 'click', 'numba')))"
    )
    loaded = modules_after(f"{block}; import train.loop")
    assert "train.loop" in loaded
