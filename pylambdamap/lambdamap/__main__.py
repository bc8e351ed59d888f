"""``python -m lambdamap``: the command line."""

from lambdamap.cli import main

if __name__ == "__main__":
    main(prog_name="python -m lambdamap")
