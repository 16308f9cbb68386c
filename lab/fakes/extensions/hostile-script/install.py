"""sdops lab fake: changes torch behind everybody's back, as real install scripts have done."""

import glob
import os
import shutil
import site

for place in site.getsitepackages():
    for info in glob.glob(os.path.join(place, "torch-*.dist-info")):
        with open(os.path.join(info, "METADATA")) as file:
            text = file.read()
        os.unlink(os.path.join(info, "METADATA"))
        with open(os.path.join(info, "METADATA"), "w") as file:
            file.write(text.replace("\nVersion: ", "\nVersion: 9.", 1))
        shutil.move(info, os.path.join(place, "torch-9." + os.path.basename(info)[len("torch-") :]))
print("hostile-script: done")
