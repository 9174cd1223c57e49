"""A program and its overrides become the typed graph.

Promises: every declaration is elaborated, used or not, so that all faults of a file come in one run;
with a fault there is no graph. The graph holds just what its outputs need.
Leaves statements to `declarations`, what is odd but legal to `lints`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from specc.elaborate.blocks import module_scope, require
from specc.elaborate.contracts import check_block
from specc.elaborate.crosses import check_crosses
from specc.elaborate.devices import devices, places
from specc.elaborate.lints import lint
from specc.elaborate.meaning import world_of
from specc.elaborate.predictions import (
    chooses_in_request,
    extra_loss,
    label_inputs,
    only_in_losses,
    output,
    prediction,
)
from specc.elaborate.scope import Scope
from specc.elaborate.sharding import shard
from specc.elaborate.spaces import declare_axes
from specc.elaborate.training import batch_of, training
from specc.elaborate.unmet import check_unmet
from specc.elaborate.world import Fault, Seen, Site, World
from specc.elaborate.written import check_names
from specc.frozen import dataclass
from specc.ir.graph import ExtraLoss, FieldSpec, Graph, Node, Output, Prediction, SpaceSpec
from specc.ir.prune import prune
from specc.names.program import Program
from specc.report import Diagnostic, Report
from specc.report.suggest import nearest
from specc.source import Span
from specc.syntax import tree
from specc.types.static import Symbol


@dataclass(frozen=True)
class _Whole:
    """What all declarations of a model came to."""

    predictions: list[Prediction]
    results: list[Output]
    losses: list[ExtraLoss]
    devices: dict[str, str]
    places: dict[str, str]
    place_spans: dict[str, Span]
    sharded: dict[str, Span]
    settings: dict[str, Any]


def elaborate(
    program: Program, overrides: Mapping[str, Any], report: Report, seen: Seen | None = None
) -> Graph | None:
    """Return the graph of a model, or None after reporting why there is none. seen: as in `world_of`."""
    module = program.main
    world = world_of(program, report, overrides, seen)
    scope = module_scope(world, module)
    _check_overrides(world, module.named)
    if module.kind != "model":
        _library(scope)
        return None
    _params(scope)
    whole = _whole(scope)
    _check_blocks(scope)
    if not report.has_errors and not (whole.predictions or whole.results or whole.losses):
        report.error(
            "E0513",
            f"model `{module.name}` predicts nothing",
            module.ident.span,
            help="say what comes out: `predict click: binary = …`",
        )
    nodes, weights, attentions = tuple(world.root.nodes), dict(world.weights), list(world.attentions)
    check_unmet(scope)
    if report.has_errors:
        return None
    params = {
        name: _plain(entry.value)
        for name, entry in scope.entries.items()
        if isinstance(entry.statement, tree.Param)
    }
    graph = Graph(
        module.name,
        module.doc,
        nodes,
        weights,
        tuple(_with_keys(space, world.keys) for space in world.spaces.values()),
        tuple(whole.predictions),
        tuple(whole.losses),
        tuple(use.record for use in attentions),
        _bindings(scope),
        params,
        whole.devices,
        whole.places,
        whole.settings,
        module.edition,
        module.ident.span.source.name,
        whole.place_spans,
        tuple(whole.results),
    )
    label_inputs(graph, report)
    lint(graph, world, attentions)
    pruned = prune(graph, {use.record.path: use.result for use in attentions})
    pruned = shard(pruned, whole.sharded, report)
    return pruned if only_in_losses(pruned, report) and not report.has_errors else None


def _with_keys(space: SpaceSpec, keys: Mapping[str, FieldSpec]) -> SpaceSpec:
    """Return a space with the fields that hold its fields' keys."""
    own = tuple(f for f in keys.values() if f.space == space.name)
    return replace(space, fields=(*space.fields, *own)) if own else space


def look_at(program: Program, overrides: Mapping[str, Any], report: Report) -> None:
    """Report the faults of one more variant of a model: nothing of what no variant meets, and no lints.

    One that its params rule out is not looked at any further.
    """
    scope = module_scope(world_of(program, report, overrides), program.main)
    _params(scope)
    if not any(rules_out(program, fault) for fault in report):
        _whole(scope)


def rules_out(program: Program, fault: Diagnostic) -> bool:
    """Return whether a fault only says that this combination of params is not meant to be."""
    if fault.code in ("E0405", "E0406"):
        return True
    return fault.code == "E0512" and any(r.condition.span == fault.span for r in program.main.requires)


def _whole(scope: Scope) -> _Whole:
    """Elaborate every declaration."""
    module = scope.module
    scope.world.batch = batch_of(scope, module.trains)
    scope.world.of_requests = any(chooses_in_request(e.statement) for e in scope.entries.values())
    declare_axes(scope)
    for name, entry in scope.entries.items():
        if not isinstance(entry.statement, tree.Block | tree.Device):
            try:
                scope.value_of(entry, name)
            except Fault:
                continue
    check_crosses(scope)
    predictions, results, losses = _outputs(scope)
    known = devices(scope)
    placed, place_spans, sharded = places(scope, module.places, known)
    settings: dict[str, Any] = {}
    with contextlib.suppress(Fault):
        settings = training(scope, module.trains)
    return _Whole(predictions, results, losses, known, placed, place_spans, sharded, settings)


def _plain(value: Any) -> Any:
    """Return a static value as JSON has it."""
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return value.name if isinstance(value, Symbol) else value


def _bindings(scope: Scope) -> dict[str, int]:
    return {
        name: entry.value.id
        for name, entry in scope.entries.items()
        if isinstance(entry.statement, tree.Binding) and isinstance(entry.value, Node)
    }


def _check_overrides(world: World, named: Mapping[str, Any]) -> None:
    params = [name for name, item in named.items() if isinstance(item, tree.Param)]
    for name, value in world.overrides.items():
        if value is None and name in params:
            world.report.error(
                "E0405",
                f"`{name}` cannot be overridden with nothing",
                named[name].ident.span,
                help="give it a value, or leave the override out",
            )
        if name not in params:
            close = nearest(name, params)
            world.report.error(
                "E0405",
                f"`{world.program.main.name}` has no param `{name}` to override",
                world.program.main.ident.span,
                help=f"did you mean `{close}`?" if close else f"its params: {', '.join(params) or 'none'}",
            )


def _params(scope: Scope) -> None:
    """Elaborate all params, then check the conditions on them."""
    for name, entry in scope.entries.items():
        if isinstance(entry.statement, tree.Param):
            try:
                scope.value_of(entry, name)
            except Fault:
                continue
    for item in scope.module.requires:
        try:
            require(item, Site(scope, scope.frame, ""))
        except Fault:
            continue


def _outputs(scope: Scope) -> tuple[list[Prediction], list[Output], list[ExtraLoss]]:
    predictions: list[Prediction] = []
    results: list[Output] = []
    losses: list[ExtraLoss] = []
    for entry in scope.entries.values():
        try:
            if isinstance(entry.statement, tree.Predict):
                found, own = prediction(scope, entry.statement)
                predictions.append(found)
                losses += own
            elif isinstance(entry.statement, tree.Output):
                results.append(output(scope, entry.statement))
            elif isinstance(entry.statement, tree.Loss):
                losses.append(extra_loss(scope, entry.statement))
        except Fault:
            continue
    return predictions, results, losses


def _check_blocks(scope: Scope) -> None:
    """Check the contracts of this file's blocks, and the names in what was never elaborated."""
    for entry in scope.entries.values():
        if isinstance(entry.statement, tree.Block):
            check_block(entry.statement, scope.world)
    check_names(scope)


def _library(scope: Scope) -> None:
    """Elaborate a library's params and check the names in its blocks; a library has no model."""
    _params(scope)
    _check_blocks(scope)
    check_unmet(scope)
