"""Tickets and pruned links in transformers of every kind: DeiT, LV-ViT-like, and Swin of transformers."""

import pytest
import torch
from tests.tokens.networks import LVViTLike, Scores, images, network
from transformers import SwinConfig, SwinForImageClassification

from spokeshave.errors import SpokeshaveError
from spokeshave.samples import (
    LinkPruning,
    blank,
    kept_by,
    pack,
    prune_links,
    random_tickets,
    ticket_size,
    tickets_of,
)
from spokeshave.tokens import Given, TokenReducer, TopK, insert
from spokeshave.workload import trace


@pytest.mark.parametrize("kind", ["vit", "deit", "lv-vit"])
def test_a_selectors_tickets_have_the_papers_size(kind: str) -> None:
    selector = network(kind)
    with insert(selector, [TokenReducer(before, decision=TopK(0.8)) for before in (1, 2, 3)]) as inserted:
        selector(images(5))
        tickets = tickets_of(inserted.decisions[-1])
    assert tickets.shape == (5, ticket_size(16, 0.8))


def test_a_student_sees_its_tickets_alone_behind_the_positions() -> None:
    student, batch, tickets = network("lv-vit"), images(4), random_tickets(4, 16, 6)
    assert isinstance(student, LVViTLike)
    patches = student.stem(batch).flatten(2).transpose(1, 2) + student.position[:, 1:]
    chosen = patches.gather(1, tickets[:, :, None].expand(-1, -1, patches.shape[2]))
    front = (student.cls_token + student.position[:, :1]).expand(4, -1, -1)
    expected = student.head(student.norm(student.blocks(torch.cat((front, chosen), 1)))[:, 0])
    with insert(student, TokenReducer(0, Given(), TopK(6 / 16))) as inserted:
        inserted.give(kept_by(tickets, 16))
        assert torch.allclose(student(batch), expected, atol=1e-9)
        assert inserted.counts.unique().tolist() == [7]


def test_swin_computes_less_on_packed_tickets() -> None:
    """With windows that tile both sizes of image, as the paper's window of 6 does for 12 x 12 chosen patches."""
    settings = SwinConfig(
        image_size=16, patch_size=2, num_labels=5, embed_dim=8, depths=[2, 2], num_heads=[2, 2], window_size=2
    )
    student, batch, tickets = (
        Scores(SwinForImageClassification(settings)),
        images(4).float(),
        random_tickets(4, 16, 4),
    )
    packed = pack(batch, tickets, 4)
    assert student(packed).shape == student(batch).shape
    whole, less = (
        sum(layer.multiply_adds for layer in trace(student, each[:1]).layers) for each in (batch, packed)
    )
    assert less < 0.3 * whole


def test_swin_on_blanked_images_sees_nothing_else() -> None:
    student, batch, tickets = network("swin"), images(4), random_tickets(4, 16, 4)
    others = torch.where(
        kept_by(tickets, 16).view(4, 1, 4, 4).repeat_interleave(4, 2).repeat_interleave(4, 3), batch, 7.0
    )
    assert torch.equal(student(blank(batch, tickets, 4)), student(blank(others, tickets, 4)))
    assert not torch.allclose(student(batch), student(others))


@pytest.mark.parametrize("kind", ["vit", "deit"])
def test_links_are_pruned_in_transformers_own_networks(kind: str) -> None:
    pruned, batch = network(kind), images(3)
    dense = pruned(batch)
    leading = 2 if kind == "deit" else 1
    links = prune_links(pruned, LinkPruning(0.5, after=(1,), leading=leading))
    assert not torch.allclose(pruned(batch), dense)
    assert links.keys == (16 + leading,) * 2 + (8 + leading,) * 2
    links.keep = 1.0
    assert torch.allclose(pruned(batch), dense)


def test_attention_that_is_written_out_is_refused() -> None:
    eager = network("eager vit")
    prune_links(eager, LinkPruning(0.5, after=(1,)))
    with pytest.raises(SpokeshaveError, match="networks that attend in another way are not supported"):
        eager(images(1))
