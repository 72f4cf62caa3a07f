"""The command line from a checkout: ``python run.py [serve …]``."""

from gtower_realtime.cli import main

if __name__ == "__main__":
    main()
