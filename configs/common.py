"""Defaults of every config, by section; the other files override a few fields."""

from ml_collections import ConfigDict


def default() -> ConfigDict:
    """The reference training of the literature, for the full-size `dlec_gain`."""
    config = ConfigDict()
    config.name = "dlec_gain"

    # Arguments of ycc_jax.models.build; they travel with the codec model.
    config.model = ConfigDict()
    config.model.N = 192
    config.model.M = 320
    config.model.transform = "dlec"
    config.model.widths = ()  # of "residual", as are the next three
    config.model.analysis_blocks = (1, 3)
    config.model.synthesis_blocks = (1, 3)
    config.model.level_aware_transform = False
    config.model.layout = "branched"
    config.model.color_space = "ycbcr"
    config.model.matrix = "bt601"
    config.model.color_range = "full"
    config.model.subsampling = "444"  # or 420: native planes
    config.model.activation = "prelu"
    config.model.levels = 8  # one for each lambda; 0 without gain units
    config.model.chroma_weights = ()  # or chroma weights, ascending: a grid of gains
    config.model.level_aware = True
    config.model.linear_shortcut = False
    config.model.hyperprior = "mean_scale"
    config.model.context = "autoregressive"
    config.model.likelihood = "gaussian"
    config.model.entropy_width = 0  # 0: the papers' sizes, which grow with M
    config.model.surrogate = "noise"
    config.model.passes = 1

    config.loss = ConfigDict()
    # Per unit of MSE on the 0..255 scale, one a rate level (CompressAI's eight qualities).
    config.loss.lambdas = (0.0018, 0.0035, 0.0067, 0.0130, 0.0250, 0.0483, 0.0932, 0.1800)
    config.loss.metric = "mse"
    config.loss.space = "ycbcr"
    config.loss.chroma_weight = (
        0.25  # of a chroma plane against luma; with model.chroma_weights, of validation
    )
    # Or one weight a rate level, as the training of the references' joint system had it:
    # (1, 0.25, 0.1, 0.025) for four. Not with model.chroma_weights, which draw theirs.
    config.loss.level_chroma_weights = ()
    config.loss.balance = 0.0  # a level's loss is weighted by lambda^-balance

    config.optim = ConfigDict()
    config.optim.optimizer = "adam"  # or "muon" or "soap", of the kernels, and Adam of the rest
    config.optim.learning_rate = 1e-4
    config.optim.kernel_rate = 4.0  # learning rate of these kernels, relative to the rest
    config.optim.warmup_steps = 100
    config.optim.final_fraction = 0.01  # of the learning rate, at the end of the cosine
    config.optim.clip_norm = 1.0
    config.optim.ema_decay = 0.999
    config.optim.closed_form_start = False  # gains and channel widths; needs linear_shortcut
    config.optim.start_from = ""  # or a codec model: its weights as a start
    config.optim.start_grows = False  # the model may be larger than that one: the same at the start
    config.optim.shortcut_rate = 0.1  # learning rate of the linear shortcut, relative to the rest

    config.data = ConfigDict()
    config.data.source = "samples"  # or folder:PATH, or tfds:NAME[:SPLIT]
    # Fixed crops of a source of its own, or if empty of the training pictures, on which the model
    # kept in WORKDIR/best is the best so far.
    config.data.validation = ""
    config.data.data_dir = ""  # of TFDS
    config.data.batch_size = 16  # of all devices and processes together
    config.data.crop = 256
    config.data.late = ConfigDict()  # crop and batch size from a step on, the smaller ones before
    config.data.late.step = 0  # 0: never
    config.data.late.crop = 256
    config.data.late.batch_size = 16
    # "memory": decoded once, cut on the host; "grain": decoded as drawn; "resident": decoded once,
    # kept on the devices and cut there (the same distribution, other random numbers).
    config.data.loader = "memory"
    config.data.workers = 0  # processes of the grain loader

    config.train = ConfigDict()
    config.train.steps = 1_000_000
    config.train.seed = 0
    config.train.compute_dtype = "auto"  # bfloat16 on GPUs and TPUs; parameters stay float32
    # Between two looks of the host; less where a record is due. 0: 10 on GPUs and TPUs, 1 on CPUs.
    config.train.steps_per_call = 0
    config.train.log_every = 100
    config.train.eval_every = 5000  # validation, and the choice of WORKDIR/best; also at the end
    config.train.checkpoint_every = 5000  # what a killed run loses at most; SIGTERM loses nothing
    config.train.keep_checkpoints = 2  # the newest; each holds parameters, average and optimiser
    return config
