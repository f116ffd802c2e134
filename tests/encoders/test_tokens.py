import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from subtext.encoders.tokens import Tokens


@given(lengths=st.lists(st.one_of(st.none(), st.integers(0, 6)), min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_pad_marks_exactly_the_real_positions(lengths):
    sequences = [None if n is None else torch.full((n, 2), float(i + 1)) for i, n in enumerate(lengths)]
    if all(s is None for s in sequences):
        with pytest.raises(ValueError, match="every sequence is absent"):
            Tokens.pad(sequences)
        return
    tokens = Tokens.pad(sequences)
    assert tokens.mask.sum(dim=1).tolist() == [n or 0 for n in lengths]
    assert tokens.present.tolist() == [bool(n) for n in lengths]
    assert tokens.mean()[:, 0].tolist() == [float(i + 1) if n else 0.0 for i, n in enumerate(lengths)]


def test_real_and_with_real_are_inverse():
    mask = torch.tensor([[True, False, True], [False, False, False], [True, True, False]])
    tokens = Tokens(torch.randn(3, 3, 4), mask)
    again = tokens.with_real(tokens.real)
    assert torch.equal(again.real, tokens.real)
    assert torch.equal(again.mask, mask)
    assert again.values[~mask].abs().sum() == 0


def test_with_real_may_change_the_shape_of_a_position():
    tokens = Tokens.pad([torch.randn(2, 8, 8), None])
    assert tokens.with_real(torch.ones(2, 5)).values.shape == (2, 2, 5)


def test_drop_makes_rows_absent_and_leaves_the_others():
    tokens = Tokens.pad([torch.ones(2, 3), torch.ones(1, 3)])
    dropped = tokens.drop(torch.tensor([True, False]))
    assert dropped.present.tolist() == [False, True]
    assert tokens.present.tolist() == [True, True]


def test_padded_to_refuses_to_shorten():
    tokens = Tokens.pad([torch.ones(4, 3)])
    assert tokens.padded_to(6).mask.sum() == 4
    with pytest.raises(ValueError, match="cannot pad 4 positions to 2"):
        tokens.padded_to(2)


@pytest.mark.parametrize("mask", [torch.ones(2, 3), torch.ones(2, 4, dtype=torch.bool)])
def test_a_mask_that_does_not_fit_is_refused(mask):
    with pytest.raises(ValueError, match="mask must be bool"):
        Tokens(torch.zeros(2, 3, 5), mask)
