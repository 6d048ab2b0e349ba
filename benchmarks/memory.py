"""Peak memory of `fastcl.sketch` above its input: growth of the largest resident size, each size in a new process."""

import subprocess
import sys

CHILD = """
import resource, sys
import numpy as np, fastcl
n, d, m = map(int, sys.argv[1:])
x = np.random.default_rng(0).standard_normal((n, d), dtype=np.float32)
omega = fastcl.draw_frequencies(m, d, 1.0, rng=0)
fastcl.sketch(x[:1000], omega[:300])  # compiles
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # forget the largest size so far
def kib(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name))
before = kib("VmRSS")
fastcl.sketch(x, omega)
print((kib("VmHWM") - before) / 1024)
"""


def main():
    print(f"{'n':>10}{'d':>5}{'m':>7}{'input MiB':>11}{'extra MiB':>11}")
    for n, d, m in ((1_000_000, 16, 4000), (4_000_000, 16, 4000), (1_000_000, 16, 500)):
        output = subprocess.run([sys.executable, "-c", CHILD, str(n), str(d), str(m)], check=True, capture_output=True, text=True)
        print(f"{n:>10}{d:>5}{m:>7}{n * d * 4 / 2**20:>11.0f}{float(output.stdout):>11.1f}")


if __name__ == "__main__":
    main()
