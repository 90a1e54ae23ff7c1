"""``python -m convrnn_zoo.bench``."""

from .command import bench

if __name__ == "__main__":
    bench(prog_name="python -m convrnn_zoo.bench")
