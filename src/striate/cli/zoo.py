"""`striate zoo`: the backbones there are, and what is known of each."""

from __future__ import annotations

from typing import Annotated

import typer


def zoo(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="One of them, for its card: resnet18.", show_default="list all"),
    ] = None,
    family: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only those of one kind: resnet, vgg, ...", show_default="all")
    ] = None,
    max_params: Annotated[
        str | None, typer.Option(metavar="COUNT", help="At most so many parameters: 5M.", show_default="no limit")
    ] = None,
    max_macs: Annotated[
        str | None,
        typer.Option(metavar="COUNT", help="At most so many multiply-accumulates: 1G.", show_default="no limit"),
    ] = None,
    min_top1: Annotated[
        float | None,
        typer.Option(
            "--min-top1",
            min=0,
            max=100,
            metavar="PERCENT",
            help="At least this published accuracy on ImageNet: 70.",
            show_default="no limit",
        ),
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            help="The best first by top1, the smallest by parameters, macs or neurons; or by year or name.",
            show_default="year",
        ),
    ] = None,
    form: Annotated[
        str, typer.Option("--format", help="table, json, csv or markdown; of one network, table or json.")
    ] = "table",
) -> None:
    """List the backbones of the zoo, or show what is known of one.

    MACs and neurons are for one image of the published size, top-1 is the published accuracy on ImageNet in percent,
    of the weights imagenet1k_v1. Every command that takes a MODEL takes these names.
    """
    from striate.cli import backbones

    asked = backbones.Asked(family, max_params, max_macs, min_top1, sort, form)
    if name is None:
        backbones.show_list(asked)
    else:
        backbones.show_card(name, asked)
