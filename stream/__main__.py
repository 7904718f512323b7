"""`upsell-stream`, and `python -m stream`."""

from stream.cli.root import main

if __name__ == "__main__":
    main()
