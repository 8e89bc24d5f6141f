"""Less data while a network is trained: fewer examples, fewer links of attention, fewer patches."""

from spokeshave.samples.keep_schedule import KeepSchedule
from spokeshave.samples.links import LinkPruning
from spokeshave.samples.loading import Indexed, PrunedLoader
from spokeshave.samples.pruned_links import PrunedLinks, prune_links
from spokeshave.samples.pruning import ExamplePruning
from spokeshave.samples.sampler import ExampleSampler
from spokeshave.samples.scheduled_tokens import ScheduledTokens
from spokeshave.samples.tickets import blank, kept_by, pack, random_tickets, ticket_size, tickets_of

__all__ = [
    "ExamplePruning",
    "ExampleSampler",
    "Indexed",
    "KeepSchedule",
    "LinkPruning",
    "PrunedLinks",
    "PrunedLoader",
    "ScheduledTokens",
    "blank",
    "kept_by",
    "pack",
    "prune_links",
    "random_tickets",
    "ticket_size",
    "tickets_of",
]
