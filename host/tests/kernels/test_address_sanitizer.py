"""The same vectors once more under AddressSanitizer, which has to be loaded before Python's own allocator."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

FILES = ["test_conv.py", "test_dynamic.py", "test_elementwise.py", "test_linear.py", "test_update.py"]
SOME = "any_convolution or clamp_dx or bias_gradient or sum_dx or gathers or avgpool or softmax or partial"


def test_no_kernel_leaves_its_memory() -> None:
    runtime = subprocess.run(
        ["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    )
    env = os.environ | {
        "MCUGRAD_SANITIZE": "address,undefined",
        "LD_PRELOAD": runtime.stdout.strip(),
        "ASAN_OPTIONS": "detect_leaks=0",
    }
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", SOME]
    files = [str(Path(__file__).parent / f) for f in FILES]
    done = subprocess.run([*command, *files], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
