"""The devices that the null backend plays, to try out how one is chosen: the JSON list in AUTORESEARCH_NULL_DEVICES, or none."""

import os

if __name__ == "__main__":
    print(os.environ.get("AUTORESEARCH_NULL_DEVICES") or "[]")
