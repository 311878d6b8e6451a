"""Makes the wheels that requirements.txt asks for, without a network: `make_wheels.py FOLDER`.

Of `words` there are two versions, and `greetings` takes one of them, so that pip has something to resolve.
"""
import base64
import hashlib
import sys
import zipfile
from pathlib import Path

GREET = "from words import HELLO\n\n\ndef greet(name):\n    return f'{HELLO}, {name}!'\n"
PACKAGES = [
    ("words", "1.0.0", "HELLO = 'Bye'\n", []),
    ("words", "2.1.0", "HELLO = 'Hello'\n", []),
    ("greetings", "1.2.0", GREET, ["words>=2,<3"]),
]


def wheel(folder, name, version, code, needs):
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {need}\n" for need in needs)
    files = {
        f"{name}/__init__.py": code,
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {name}:greet\n",
    }
    record = ""
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
        record += f"{path},sha256={digest.decode()},{len(text.encode())}\n"
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            archive.writestr(zipfile.ZipInfo(path, (2001, 1, 1, 0, 0, 0)), text)


target = Path(sys.argv[1])
target.mkdir()
for package in PACKAGES:
    wheel(target, *package)
