"""Models behind OpenAI-compatible endpoints: one way of sending for candidates and judges.

`model` asks, `sending` tries and tries again, `outcomes` says what a reply is, `traffic` holds everybody to the limits and keeps
count of what was used.
"""

from harness.models.endpoint.model import EndpointModel
from harness.models.endpoint.traffic import Hosts

__all__ = ["EndpointModel", "Hosts"]
