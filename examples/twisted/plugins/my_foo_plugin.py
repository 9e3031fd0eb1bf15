"""
Tells the daemon that there is a processor MyFoo. See ``my_foo.py``.

Every program that looks for Twisted plugins imports this file: keep it to names, as here. The
directories ``twisted`` and ``twisted/plugins`` must hold no ``__init__.py``.
"""

from guerrilla_tw import ProcessorPlugin

my_foo = ProcessorPlugin("MyFoo", "my_foo.my_foo")
