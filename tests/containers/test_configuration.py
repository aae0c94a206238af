"""What cannot be run everywhere is read: options are those of the commands, networks are closed."""

import json
import re
from pathlib import Path

import pytest
import typer
import yaml
from packaging.requirements import Requirement

from rtflow.cli.main import app
from rtflow.packaging.locking import needed
from rtflow.packaging.scanning import scan

ROOT = Path(__file__).resolve().parents[2]
CONTAINERS = ROOT / "containers"
COMPOSE = yaml.safe_load((CONTAINERS / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]


def test_the_networks_are_closed_and_the_dashboard_is_on_loopback():
    inner = {name for name, network in COMPOSE["networks"].items() if network.get("internal")}
    assert inner == {"acquisition", "display"}
    outside = {name: set(service["networks"]) - inner for name, service in SERVICES.items()}
    assert {name for name, networks in outside.items() if networks} == {"dashboard"}
    others = {name: network for name, network in COMPOSE["networks"].items() if name not in inner}
    assert others == {"browser": {"driver_opts": {"com.docker.network.bridge.enable_ip_masquerade": "false"}}}
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert published == ["127.0.0.1:8050:8050"]
    assert not set(SERVICES["scanner"]["networks"]) & set(SERVICES["subject"]["networks"])


def test_the_others_wait_until_the_analysis_answers():
    waited = {name: service.get("depends_on") for name, service in SERVICES.items()}
    healthy = {"analysis": {"condition": "service_healthy"}}
    assert waited == {"analysis": None, **dict.fromkeys(("scanner", "subject", "dashboard"), healthy)}
    image = (CONTAINERS / "Containerfile").read_text()
    command = json.loads(re.search(r"^HEALTHCHECK .*?CMD (.*)$", image, re.MULTILINE)[1])
    checked = {name: service for name, service in SERVICES.items() if "healthcheck" in service}
    assert set(checked) == {name for name, one in SERVICES.items() if one["image"] == "localhost/rtflow"}
    assert all(one["healthcheck"]["test"] == ["CMD", *command] for one in checked.values())
    # where each listens is what is asked
    assert "--listen=0.0.0.0:8443" in SERVICES["analysis"]["command"]
    assert '"https://127.0.0.1:8443/' in (CONTAINERS / "healthcheck.py").read_text()
    assert "--listen=0.0.0.0:8050" in SERVICES["dashboard"]["command"]
    assert SERVICES["dashboard"]["environment"]["RTFLOW_HEALTH"] == "https://127.0.0.1:8050/"


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_hardened_and_its_command_is_one_of_ours(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    command, *arguments = [re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", part) for part in service["command"]]
    group = typer.main.get_command(app)
    group.commands[command].make_context(command, arguments)  # raises at an unknown option
    volumes = [volume.split(":")[0] for volume in service["volumes"]]
    assert all(volume in COMPOSE["volumes"] for volume in volumes if not volume.startswith("${"))


def test_nothing_in_the_folder_is_secret():
    files = {path.name: path for path in CONTAINERS.iterdir() if path.is_file()}
    assert list(scan(files)) == []


def locked(name: str) -> dict[str, str]:
    lines = (CONTAINERS / name).read_text().replace("\\\n", "").splitlines()
    pins = [line.split() for line in lines if not line.startswith("#")]
    assert all(hashes and all(one.startswith("--hash=sha256:") for one in hashes) for _, *hashes in pins)
    return dict(pin.split("==") for pin, *_ in pins)


def test_the_images_have_what_is_pinned():
    pinned = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if not line.startswith("#"):
            one = Requirement(line)
            if one.marker is None or one.marker.evaluate({"python_version": "3.11"}):
                pinned[re.sub(r"[-_.]+", "-", one.name).lower()] = str(one.specifier).removeprefix("==")
    whole, agents = locked("requirements.txt"), locked("requirements-agents.txt")
    assert all(pinned[name] == version for name, version in (whole | agents).items())
    assert set(agents) <= set(whole)
    assert "numpy" not in agents
    assert set(needed(["rtflow"])) - {"rtflow"} <= set(whole)


@pytest.mark.parametrize("name", ["Containerfile", "Containerfile.subject"])
def test_an_image_is_of_nobody_and_of_packages_by_hash(name):
    text = (CONTAINERS / name).read_text()
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE) == ["1000:1000"]
    installs = re.findall(r"\$pip install[^&]*|-m pip install[^&]*", text.replace("\\\n", " "))
    assert len(installs) == 3
    assert all("--require-hashes" in one or "--no-index --no-deps" in one for one in installs)


def test_apptainers_recipe_starts_what_the_image_starts():
    recipe = (CONTAINERS / "rtflow.def").read_text()
    image = (CONTAINERS / "Containerfile").read_text()
    assert recipe.count("Bootstrap: oci-archive") == 1
    assert 'exec python3 -m rtflow "$@"' in recipe
    assert 'ENTRYPOINT ["python3", "-m", "rtflow"]' in image
    variables = dict(re.findall(r"(\w+)=(\S+)", re.search(r"%environment\n(.*)\n", recipe)[1]))
    assert variables == dict(
        re.findall(r"(\w+)=(\S+)", re.findall(r"^ENV (PYTHONPATH.*)$", image, re.MULTILINE)[-1])
    )
