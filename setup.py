"Package metadata lives in settings.ini; this file hands it to setuptools."

import shutil
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

here = Path(__file__).parent
config = ConfigParser(delimiters=["="])
config.read(here / "settings.ini", encoding="utf-8")
cfg = config["DEFAULT"]
extras = {key.removesuffix("_requirements"): cfg[key].split() for key in cfg if key.endswith("_requirements")}
extras["dev"] += extras["dicom"] + extras["serve"] + extras["app"] + extras["openvino"]


class BuildWithCheckpoint(build_py):
    "Put the reference checkpoint into the package; the repository holds it once, beside the package."

    def run(self):
        super().run()
        if not self.editable_mode:  # an editable install finds the checkpoint in the clone
            target = Path(self.build_lib) / "brainmtl" / "checkpoints" / "reference"
            target.mkdir(parents=True, exist_ok=True)
            for name in ("model.safetensors", "model.json", "README.md"):  # the networks of the folds stay behind
                shutil.copyfile(here / "checkpoints" / "reference" / name, target / name)


setup(
    cmdclass={"build_py": BuildWithCheckpoint},
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author=cfg["author"],
    author_email=cfg["author_email"],
    license="Apache-2.0",
    url=cfg["git_url"],
    keywords=cfg["keywords"].split(),
    packages=find_packages(include=["brainmtl", "brainmtl.*"]),
    package_data={"brainmtl": ["recipes/*.yaml", "apps/*.html"]},
    python_requires=f">={cfg['min_python']}",
    install_requires=cfg["requirements"].split(),
    extras_require=extras,
    entry_points={
        "console_scripts": cfg["console_scripts"].split(),
        "nbdev": [f"{cfg['lib_name']}={cfg['lib_name']}._modidx:d"],
    },
    zip_safe=False,
)
