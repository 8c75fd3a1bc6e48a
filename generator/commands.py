"""`palisade generate` and `palisade dataset`."""

import hashlib
import importlib.util
import json
import multiprocessing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
import typer.core
from rich.console import Console

from detectors.errors import ModelError
from generator.contracts import Installation
from generator.errors import DatasetError

if TYPE_CHECKING:
    from generator.datasets.maker import Maker


class RecipeFirst(typer.core.TyperGroup):
    """`palisade generate RECIPE` is `palisade generate recipe RECIPE`: what names no command is a recipe."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] != "--help" and args[0] not in self.commands:
            args = ["recipe", *args]
        return super().parse_args(ctx, args)


generate = typer.Typer(
    cls=RecipeFirst,
    help="Make labelled, guarded, marked images with diffusion models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
dataset = typer.Typer(help="Look at, check and show datasets.", no_args_is_help=True, pretty_exceptions_enable=False)
out_console, err_console = Console(), Console(stderr=True)
NEEDED = ("torch", "diffusers", "transformers", "peft", "pyarrow")
Folder = Annotated[Path, typer.Argument(help="The dataset's folder.", show_default=False)]


def need_extra(*names: str) -> None:
    """Raises ModelError when libraries of the `train` extra are missing."""
    if missing := [name for name in names or NEEDED if importlib.util.find_spec(name) is None]:
        raise ModelError(
            f"not installed: {', '.join(missing)}", hint="pip install 'palisade[train]'; serving needs none of them"
        )


def say(text: str) -> None:
    err_console.print(text, highlight=False, markup=False)


@generate.command("recipe")
def recipe_command(
    context: typer.Context,
    recipe: Annotated[str, typer.Argument(help="A recipe's file, or the name of a shipped one.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder of the dataset; an unfinished one is gone on with.")],
    pipeline: Annotated[str, typer.Option(help="Local folder or hub id; the embedded model without it.")] = "",
    revision: Annotated[str, typer.Option(help="Commit hash of a hub id.")] = "",
    network: Annotated[bool, typer.Option("--network", help="May fetch a hub id that is not in the cache.")] = False,
    pictures: Annotated[
        Path | None, typer.Option(help="Folder of real pictures, for modes that begin with one.")
    ] = None,
    autoencoder: Annotated[Path | None, typer.Option(help="Folder of its weights, for mode reconstruct.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, float16, bfloat16.")] = "auto",
    offload: Annotated[str, typer.Option(help="none, model, sequential.")] = "none",
    scheduler: Annotated[str, typer.Option(help="A diffusers scheduler class to use instead.")] = "",
    lora: Annotated[list[Path] | None, typer.Option(help="LoRA files (safetensors).")] = None,
    inversion: Annotated[list[Path] | None, typer.Option(help="Textual inversion files (safetensors).")] = None,
    models: Annotated[
        Path | None, typer.Option(help="Folder of the guard's models; Palisade's own without it.")
    ] = None,
    worker: Annotated[int, typer.Option(help="Which of the workers this is, from 0.")] = 0,
    workers: Annotated[int, typer.Option(help="How many share the recipe.")] = 1,
    processes: Annotated[int, typer.Option(help="Worker processes to start here; they share by file locks.")] = 1,
) -> None:
    """Make the dataset of a recipe. Killed or stopped, the same command goes on and the dataset is the same."""
    need_extra()
    if processes < 1:
        raise DatasetError(f"{processes} processes make nothing", hint="--processes is at least 1")
    values: dict[str, Any] = {
        "recipe": recipe, "out": out, "pipeline": pipeline, "revision": revision, "network": network,
        "pictures": pictures, "autoencoder": autoencoder, "lora": lora or [], "inversion": inversion or [],
        "device": device, "dtype": dtype, "offload": offload, "scheduler": scheduler,
        **_surroundings(context, models),
    }  # fmt: skip
    if processes == 1:
        _work(values, worker, workers)
    else:
        _spread(values, processes)
    out_console.print(str(out), highlight=False)


def _surroundings(context: typer.Context, models: Path | None) -> dict[str, Any]:
    """The guard's models and whom it protects. Worker processes are given what was read here."""
    if not callable(context.obj):
        return {"models": models, "names": (), "gallery": None}
    installation: Installation = context.obj()
    protected = installation.protected()
    return {"models": models or installation.models, "names": protected.names, "gallery": protected.gallery}


def _spread(values: dict[str, Any], processes: int) -> None:
    context = multiprocessing.get_context("spawn")
    started = [context.Process(target=_work, args=(values, 0, 1)) for _ in range(processes)]
    for process in started:
        process.start()
    for process in started:
        process.join()
    if any(process.exitcode for process in started):
        raise DatasetError("a worker process failed; its message is above", hint="run the command again to go on")


def _work(values: dict[str, Any], worker: int, workers: int) -> None:
    from generator.datasets.shards import finish, write

    maker = make_maker(values)
    made = write(maker, values["out"], worker=worker, workers=workers, say=say)
    if not finish(made):
        say("other workers still hold shards; the last to end writes the manifest")


def make_maker(values: dict[str, Any]) -> "Maker":
    """Everything that the recipe needs, loaded. Prompts are checked before any weights are read."""
    from generator import pipelines, recipes
    from generator.datasets.maker import Maker, pictures_in, refuse_forbidden
    from generator.model import EMBEDDED
    from generator.modes import reconstruct
    from generator.modes.diffusion import Families
    from generator.recipes.document import PROMPTED

    recipe = recipes.load(values["recipe"])
    guard, marker = _guard(values), _marker(values["out"])
    refuse_forbidden(recipe, guard)
    pictures = pictures_in(values["pictures"]) if values["pictures"] else []
    parts: dict[str, Any] = {}
    if recipe.mode in PROMPTED:
        loaded = _loaded(values, recipe, pictures)
        say(loaded.report())
        parts = {"families": Families(loaded), "model": loaded.name, "model_digest": loaded.digest}
    if recipe.mode == "reconstruct":
        if values["autoencoder"] is None and recipe.autoencoder != "kl":
            raise ModelError(f"no weights of {recipe.autoencoder}", hint="name their folder with --autoencoder")
        folder = values["autoencoder"] or EMBEDDED / "vae"
        weights = sorted(folder.glob("*.safetensors"))
        parts = {"autoencoder": reconstruct.load(recipe.autoencoder, folder), "model": recipe.autoencoder}
        parts["model_digest"] = pipelines.digest(weights)
    digest = hashlib.sha256(json.dumps(recipe.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()
    return Maker(recipe, digest, guard, marker, pictures=pictures, **parts)


def _loaded(values: dict[str, Any], recipe: Any, pictures: list[Path]) -> Any:
    """The pipeline with its adapters; in mode personalise with the identity that it is taught first."""
    from generator import pipelines
    from generator.errors import RecipeError
    from generator.model import EMBEDDED
    from generator.modes.personalise import learned

    def load(options: Any) -> Any:
        source, revision = values["pipeline"] or EMBEDDED, values["revision"]
        return pipelines.load(source, revision=revision, network=values["network"], options=options)

    options = _options(values)
    if recipe.mode != "personalise":
        return load(options)
    if not pictures:
        raise RecipeError("mode personalise needs pictures of the identity", hint="name a folder with --pictures")
    path = learned(load(options), pictures, recipe, values["out"] / "identity")
    return load(replace(options, loras=(*options.loras, pipelines.Adapter(path))))


def _options(values: dict[str, Any]) -> Any:
    from generator.pipelines import Adapter, Options

    return Options(
        device=values["device"],
        dtype=values["dtype"],
        offload=values["offload"],
        scheduler=values["scheduler"],
        loras=tuple(Adapter(path) for path in values["lora"]),
        inversions=tuple(Adapter(path, token=path.stem) for path in values["inversion"]),
    )


def _guard(values: dict[str, Any]) -> Any:
    """The shipped guard; nothing is generated without one. Without its models, images are recorded as unchecked.

    Where people are enrolled their names are refused and their faces looked for: raises ModelError when that cannot be done.
    """
    from generator.guard import Guard, KeptGallery, likeness_matcher

    models, gallery, matcher = values["models"], values["gallery"], None
    if gallery is not None:
        if models is None:
            raise ModelError("people are enrolled, and there are no models to know them by", hint="name --models")
        matcher = likeness_matcher(models, KeptGallery(gallery))
    return Guard.default(models, matcher=matcher, people=values["names"])


def _marker(folder: Path) -> Any:
    """The shipped marker with its local key, kept beside the datasets and not in one."""
    from generator.mark import Marker

    return Marker.default(folder.parent / ".palisade-marks")


@generate.command("recipes")
def recipes_command() -> None:
    """List the shipped recipes."""
    from generator import recipes

    for path in recipes.shipped():
        recipe = recipes.load(path)
        out_console.print(f"{recipe.name}  {recipe.mode}, {recipe.count} items: {recipe.about}", highlight=False)


@generate.command("train")
def train_command(
    data: Annotated[Path, typer.Option(help="Folder with manifest.csv and the real pictures it names.")],
    out: Annotated[Path, typer.Option(help="Folder of the trained pipeline.")],
    work: Annotated[Path, typer.Option(help="Folder of checkpoints; a stopped run goes on from them.")],
    autoencoder_minutes: Annotated[float, typer.Option(help="Wall-clock bound of this run's first half.")] = 30,
    diffusion_minutes: Annotated[float, typer.Option(help="Wall-clock bound of this run's second half.")] = 120,
    threads: Annotated[int, typer.Option(help="Threads of torch.", min=1, max=256)] = 2,
    seed: Annotated[int, typer.Option(help="Everything drawn comes from it.")] = 0,
) -> None:
    """Train the embedded latent diffusion model."""
    need_extra()
    import torch

    from generator.training import Plan, train

    torch.set_num_threads(threads)
    plan = Plan(autoencoder_minutes=autoencoder_minutes, diffusion_minutes=diffusion_minutes, seed=seed)
    train(data, work, out, plan, say)


@dataset.command("inspect")
def inspect_command(
    folder: Folder, form: Annotated[Literal["text", "json"], typer.Option("--format", help="text or json.")] = "text"
) -> None:
    """Label balance, duplicates by PDQ and leakage between splits. Exit code 1 when splits leak."""
    need_extra("pyarrow")
    from dataclasses import asdict

    from generator.datasets.reading import inspect

    report = inspect(folder)
    if form == "json":
        typer.echo(json.dumps(asdict(report)))
    else:
        for name, value in asdict(report).items():
            shown = f"{len(value)}" + "".join(f"\n  {one}" for one in value[:10]) if isinstance(value, list) else value
            out_console.print(f"{name}: {shown}", highlight=False, markup=False)
    if report.leaks:
        raise typer.Exit(1)


@dataset.command("verify")
def verify_command(folder: Folder) -> None:
    """Check every sample against the manifest."""
    need_extra("pyarrow")
    from generator.datasets.reading import verify

    out_console.print(f"{verify(folder)} samples are as the manifest says", highlight=False)


@dataset.command("sheet")
def sheet_command(
    folder: Folder,
    out: Annotated[Path, typer.Option(help="A .png or .html file.")],
    count: Annotated[int, typer.Option(help="At most so many pictures, evenly chosen.")] = 64,
) -> None:
    """Write a contact sheet."""
    need_extra("pyarrow")
    from generator.datasets.sheet import sheet

    out_console.print(f"{sheet(folder, out, count)} pictures in {out}", highlight=False)
