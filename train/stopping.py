"""Stopping when asked: SIGTERM, which a scheduler sends before it takes a machine, and Ctrl-C."""

import os
import signal
import threading
from types import FrameType
from typing import Self

import jax

from train.hosts import largest


class StopRequest:
    """Notes SIGTERM and SIGINT in place of dying by them; a context manager.

    The program looks at `agreed` where it can stop. A SIGINT after a first signal raises
    KeyboardInterrupt at once; more SIGTERMs change nothing, as schedulers repeat them. Outside of
    the main thread, where Python lets nobody handle signals, they keep their effect.
    """

    def __init__(self):
        self._signal = self._asked = 0
        self._before = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            # None is a handler that Python did not install and cannot give back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._signal:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        self._signal = number
        text = f"{signal.Signals(number).name}: stopping after this step (Ctrl-C: at once)\n"
        os.write(2, text.encode())  # print may not be entered twice, and this is anywhere in it

    def agreed(self) -> int:
        """The number of a signal that some process has received, or 0; the same on all processes.

        Every process must call it equally often. With several, the answer is to the call before:
        they then need not wait for their devices, and stop one call later.
        """
        if jax.process_count() == 1:
            return self._signal
        answer, self._asked = self._asked, largest(self._signal)
        return int(answer)
