"""The JSON API on the client port of any node, with health checks; on twisted.web.

It sees of the node only `txraft.node.ports.ClientGate`. The interface is written down in docs/http-api.md.
"""

from txraft.http.site import make_site

__all__ = ["make_site"]
