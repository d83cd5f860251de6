"""Run one part of the bench inside a guest."""

import importlib
import os
import sys
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

code = 0
try:
    importlib.import_module(sys.argv[1]).main()
except BaseException:  # noqa: BLE001 - the bench must learn of any exception
    traceback.print_exc(file=sys.stdout)
    code = 1
os.sync()
print(f"@@ end {code}", flush=True)
