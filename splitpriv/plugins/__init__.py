"""Plug-ins: packages, files and folders of one's own, whose classes become targets and whose conf/ brings options.

To name one is the consent: `plugins=[my_package]`, SPLITPRIV_PLUGINS, or an entry point in the group
`splitpriv.plugins` of what is installed. Everything else stays refused. Imports no torch.
"""

from splitpriv.plugins.active import active, again, digest, folders, load, member, of, require_apart, require_used, use
from splitpriv.plugins.find import Plugin, named
from splitpriv.plugins.listing import file, files, read

__all__ = [
    "Plugin", "active", "again", "digest", "file", "files", "folders", "load", "member", "named", "of", "read",
    "require_apart", "require_used", "use",
]  # fmt: skip
