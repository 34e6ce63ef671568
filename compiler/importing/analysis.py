"""A stack_config_template.json as a blueprint: what can be translated is, the rest is said and kept."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from typing import Any, Final

from compiler.blueprint import DEFAULT_DURATION, Protocol
from compiler.catalogue import instances
from compiler.importing.command import translate_command
from compiler.importing.names import clean, make_id
from compiler.importing.template import Template
from compiler.shape import suggest

HANDLERS: Final = {
    "submit_start.handler_develop": Protocol.PER_DATASET,
    "submit_start.handler_ensemble": Protocol.ENSEMBLE,
    "submit_start_legacy_wfield_preprocess.handler": Protocol.PER_DATASET,
}
LEGACY: Final = "submit_start_legacy_wfield_preprocess.handler"
POST_HANDLERS: Final = ("postprocess.postprocess_prediction", "postprocess_epi.epipostprocess")
POST_MODULES: Final = ("data_format_lambda",)
"""Modules of post handlers of which every function exists."""
STAGES: Final = {"webdev": "private", "websubstack": "public", "develop": "draft"}
STAND_IN: Final = "m5.large"
"""What a blueprint gets whose machine is not known; it is a draft, so that nothing runs on it."""
END: Final = "end.txt"
FOLDERS: Final = {"INDIR": "inputs", "OUTDIR": "results", "LOGDIR": "logs"}

_AMI: Final = re.compile(r"ami-[0-9a-z]{8,40}")
_TYPE: Final = re.compile(r"[a-z0-9-]+\.[a-z0-9-]+")
REGION: Final = re.compile(r"[a-z]{2}(-[a-z]+)+-[0-9]")
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_HANDLER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,60}(\.[A-Za-z_][A-Za-z0-9_]{0,60}){1,3}")
_RESULT: Final = re.compile(r"(?!\.\.?$)[A-Za-z0-9*_.-]{1,100}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """What one template says of an analysis.

    Attributes:
        template: where it was read.
        name: the original's name, which is the bucket's, too.
        id: the blueprint's id.
        stage: the stage that the original's means; what is written is a draft.
        bucket: its bucket, or empty when the name is not fit for one.
        region: where it runs, or empty.
        cap: the most a group may spend on it, USD.
        fields: the blueprint, without id, title, access and bucket.
        recipe: files of its environment, text by name.
    """

    template: Template
    name: str
    id: str
    stage: str
    bucket: str
    region: str
    cap: Decimal
    fields: dict[str, Any]
    recipe: dict[str, str]


def read_analysis(template: Template, *, most: int) -> Analysis | None:
    """Return what a template says, or None when it does not even name its analysis; `most` bounds its id."""
    name = template.text("PipelineName")
    if not name:
        template.notes.refuse("PipelineName", "names no analysis; nothing was imported.", "Name it.")
        return None
    made = make_id(name, most=most)
    if made != name:
        template.notes.warn("PipelineName", f"{clean(name, 80)!r} is not an id of ours; the analysis is {made!r}.")
    region = _read_region(template)
    limits, cap = _read_limits(template)
    recipe, environment = _read_environment(template, region)
    follows = _read_protocol(template, recipe)
    _compare(template)
    return Analysis(
        template=template,
        name=name,
        id=made,
        stage=_read_stage(template),
        bucket=name if _BUCKET.fullmatch(name) and not name.startswith("xn--") else "",
        region=region,
        cap=cap,
        fields={"environment": environment, "resources": [_read_machine(template)], "limits": limits, **follows},
        recipe=recipe,
    )


def _read_stage(template: Template) -> str:
    stage = template.text("STAGE")
    if stage and stage not in STAGES:
        template.notes.warn("STAGE", f"{clean(stage, 40)!r} is no stage; it was read as 'develop'.")
    return STAGES.get(stage, "draft")


def _read_region(template: Template) -> str:
    found = {}
    for path in (("REGION",), ("Lambda", "LambdaConfig", "REGION")):
        region = template.text(*path)
        if region and not REGION.fullmatch(region):
            template.notes.warn(".".join(path), f"{clean(region, 40)!r} is no region; it is left out.")
        elif region:
            found[path] = region
    if len(set(found.values())) > 1:
        machine, whole = template.find("Lambda", "LambdaConfig", "REGION"), template.find("REGION")
        message = f"{machine!r} contradicts REGION, {whole!r}; the machines' own region, {machine!r}, is used."
        template.notes.warn("Lambda.LambdaConfig.REGION", message, "Say which one is right.")
    return next(reversed(found.values()), "")


def _read_machine(template: Template) -> dict[str, Any]:
    field = "Lambda.LambdaConfig.INSTANCE_TYPE"
    name = template.text("Lambda", "LambdaConfig", "INSTANCE_TYPE")
    known = instances().get(name)
    if known is None:
        if name and _TYPE.fullmatch(name):
            message = f"{name!r} is not an instance type of the catalogue; {STAND_IN} stands in for it."
            template.notes.warn(field, message, suggest(name, instances(), say_all=False))
        elif name or not template.has("Lambda", "LambdaConfig", "INSTANCE_TYPE"):
            template.notes.warn(field, f"names no instance type; {STAND_IN} stands in for it.", "Choose one.")
        return {"instance_type": STAND_IN}
    if known.successor:
        template.notes.warn(
            field,
            f"{name} is retired or retiring; its successor {known.successor} is used.",
            "Compare memory, GPUs and price.",
        )
        known = instances().get(known.successor, known)
    return {"instance_type": known.name, **({"gpus": known.gpus} if 0 < known.gpus <= 16 else {})}  # noqa: PLR2004


def _read_limits(template: Template) -> tuple[dict[str, Any], Decimal]:
    where = ("Lambda", "LambdaConfig")
    limits: dict[str, Any] = {}
    seconds = template.number(*where, "SSM_TIMEOUT", least=60, most=604_800, unit="seconds")
    if seconds is not None:
        longest = max(1, int(seconds) // 60)
        limits |= {"duration": min(DEFAULT_DURATION, longest), "max_duration": longest}
    launch = template.number(*where, "EXECUTION_TIMEOUT", least=1, most=604_800, unit="seconds")
    if launch is not None:
        template.taken.discard((*where, "EXECUTION_TIMEOUT"))
        if seconds is not None and launch > seconds:
            template.notes.warn(
                "Lambda.LambdaConfig.EXECUTION_TIMEOUT",
                f"{launch:f} s contradicts SSM_TIMEOUT, {seconds:f} s, which is used.",
                "It bounded the launching only.",
            )
    count = template.number(*where, "DEPLOY_LIMIT", least=1, most=1000, unit="instances")
    if count is not None:
        limits["instances"] = int(count)
    cost = template.number(*where, "MAXCOST", least=1, most=1_000_000, unit="USD")
    if cost is not None:
        cost = cost.quantize(Decimal("0.01"), rounding=ROUND_DOWN)
        limits["cost"] = cost
    return limits, cost or Decimal(300)


def _read_environment(template: Template, region: str) -> tuple[dict[str, str], dict[str, Any]]:
    where = ("Lambda", "LambdaConfig")
    environment: dict[str, Any] = {}
    image = template.text(*where, "AMI")
    if image and not _AMI.fullmatch(image):
        template.notes.warn("Lambda.LambdaConfig.AMI", f"{clean(image, 60)!r} is no image id; it is left out.")
    elif image and not region:
        template.notes.warn("Lambda.LambdaConfig.AMI", "has no region to be in; it is left out.", "Fill in REGION.")
        template.taken.discard((*where, "AMI"))
    elif image:
        environment["image"] = {region: image}
    recipe = {"run.py": "", "requirements.lock": ""}
    command = _read_command(template)
    folder = template.find(*where, "WORKING_DIRECTORY")
    script, why = translate_command(command, folder if isinstance(folder, str) else "")
    if script:
        recipe["command.sh"] = script
        if isinstance(folder, str) and folder.startswith("/"):
            template.taken.add((*where, "WORKING_DIRECTORY"))
    else:
        template.taken.discard((*where, "COMMAND"))
        template.notes.warn(
            "Lambda.LambdaConfig.COMMAND", f"{why}; it was not translated.", "Write environment/command.sh."
        )
    return recipe, environment


def _read_command(template: Template) -> str:
    """Return the command template; a list of them is one after the other."""
    path = ("Lambda", "LambdaConfig", "COMMAND")
    value = template.take(*path)
    lines = value if isinstance(value, list) else [value]
    return "\n".join(lines) if all(isinstance(line, str) for line in lines) else ""


def _read_protocol(template: Template, recipe: dict[str, str]) -> dict[str, Any]:
    handler = template.text("Lambda", "Handler")
    protocol = HANDLERS.get(handler, Protocol.PER_DATASET)
    if handler and handler not in HANDLERS:
        message = f"{clean(handler, 60)!r} does not exist; the protocol is per_dataset."
        template.notes.warn("Lambda.Handler", message, suggest(handler, HANDLERS))
    elif not handler:
        template.notes.warn("Lambda.Handler", "names no handler; the protocol is per_dataset.")
    fields: dict[str, Any] = {}
    if handler == LEGACY:
        fields["inputs"] = {"folders": True}
        template.notes.mention(
            "Lambda.Handler", "datasets of the legacy handler are folders; submissions are as for any other."
        )
    step = _read_post_handler(template, recipe)
    if protocol is Protocol.ENSEMBLE:
        fields |= {
            "protocol": str(protocol),
            "ensemble": {"size": 5, **({"entry_point": step["entry_point"]} if step else {})},
        }
    elif step:
        fields |= {"protocol": str(Protocol.CHAIN), "chain": {"steps": [step]}}
    return fields


def _read_post_handler(template: Template, recipe: dict[str, str]) -> dict[str, str]:
    """Return the step that a post handler becomes, and put its entry point into the recipe; empty without one."""
    trigger = template.text("Lambda", "PostTrigger") or END
    handler = template.text("Lambda", "PostHandler")
    if not handler:
        if template.has("Lambda", "PostTrigger") or template.has("Lambda", "PostCodeUri"):
            template.notes.warn(
                "Lambda.PostHandler", "is missing, although a trigger or code of one is there; no step was made."
            )
        return {}
    module = handler.split(".", maxsplit=1)[0]
    if not _HANDLER.fullmatch(handler):
        template.notes.warn("Lambda.PostHandler", f"{clean(handler, 60)!r} is no handler; no step was made.")
        return {}
    if handler not in POST_HANDLERS and module not in POST_MODULES:
        message = f"{handler!r} does not exist; its step fails until it is written."
        template.notes.warn("Lambda.PostHandler", message, suggest(handler, POST_HANDLERS))
    file = f"{module.lower()}.py" if module.lower() not in {"run", "command"} else "after.py"
    recipe[file] = handler
    template.notes.warn(
        "Lambda.PostHandler",
        f"its code is not in the template: environment/{file} only says so.",
        "Port the code there.",
    )
    if trigger == END:
        return {"entry_point": file}
    if not _RESULT.fullmatch(trigger):
        template.notes.warn("Lambda.PostTrigger", f"{clean(trigger, 60)!r} names no result; the step gets all of them.")
        return {"entry_point": file}
    return {"entry_point": file, "inputs": trigger}


def _compare(template: Template) -> None:
    """Take what is the same for every analysis here, and say where the template wants it otherwise."""
    where = ("Lambda", "LambdaConfig")
    for field, folder in FOLDERS.items():
        said = template.take(*where, field)
        if said is not None and said != folder:
            template.taken.discard((*where, field))
            template.notes.warn(f"Lambda.LambdaConfig.{field}", f"is not {folder!r}, where every analysis has it here.")
    ending = template.take(*where, "SHUTDOWN_BEHAVIOR")
    if ending is not None and ending != "terminate":
        template.taken.discard((*where, "SHUTDOWN_BEHAVIOR"))
        template.notes.warn(
            "Lambda.LambdaConfig.SHUTDOWN_BEHAVIOR", "is not 'terminate': here every machine is gone after its task."
        )
    whole, own = template.find("Lambda", "Launch"), template.find(*where, "LAUNCH")
    if None not in (whole, own) and whole != own:
        template.notes.warn("Lambda.LambdaConfig.LAUNCH", "contradicts Lambda.Launch; the analysis is a draft anyway.")
