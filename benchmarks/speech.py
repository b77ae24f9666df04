"""Corpus `espeak` with its features, for benchmarks."""

import argparse
import subprocess
import sys
from pathlib import Path


def prepared(workspace: Path) -> Path:
    """A workspace with the corpus; made in another process, since that imports torch."""
    subprocess.run([sys.executable, "-m", "benchmarks.speech", str(workspace)], check=True)
    return workspace


def main() -> None:
    from lightning_modules.config import FeaturesConfig
    from lightning_modules.data.feature_building import build_feature_store
    from lightning_modules.data.prepared import prepare_corpus

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workspace", type=Path)
    workspace = parser.parse_args().workspace
    corpus = prepare_corpus("espeak", workspace, progress=lambda *_: None)
    build_feature_store(corpus, FeaturesConfig(), workspace=workspace, progress=lambda *_: None)


if __name__ == "__main__":
    main()
