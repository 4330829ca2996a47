"""Define the commands of `ssld`: one file a command, and in it one public function of the command's name.

A function takes the options of its command as keyword arguments, which `ssld/arguments.py` describes, and returns the
result. It knows nothing of argparse, and it prints nothing but progress and notes on standard error: `ssld/cli.py`
parses the command line and prints the result. A module of this folder imports PaddlePaddle, and what needs it, inside
its functions.
"""
