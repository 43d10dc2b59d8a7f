"""The file that `ray up` reads, for machines by ssh and for three clouds.

In: a description. Out: one YAML file. Decided here: the token travels as a file
(`file_mounts`); with an image Ray's commands run in a container that has the repository, without
one the repository is copied and builds its environment; version 2 of the autoscaler starts no
workers of the local provider; Ray's commands are said outright, since its defaults depend on files
in the home directory.
"""

from typing import Any

from deepicd.clusters.description import ClusterDescription, Machine, WorkerGroup
from deepicd.clusters.places import CLOUDS, Aws, Azure, Gcp, Local, OnPremises
from deepicd.clusters.rendering.environment import COPY, exports, node_environment
from deepicd.clusters.rendering.job_command import IMAGE_REPOSITORY
from deepicd.clusters.rendering.yaml_text import yaml_text

_PORT = 6379
_CONTAINER = "deepicd"
_EXCLUDED = (".git", ".venv", "runs", ".hypothesis", "*_cache", "__pycache__")
_HEAD = "head"
_CLOUD_CLIENT = {
    "aws": ("python -m pip install 'boto3>=1.4.8'",),
    "gcp": ("python -m pip install google-api-python-client==1.7.8",),
    "azure": (
        "python -m pip install azure-core==1.35.0 azure-identity==1.23.1 "
        "azure-mgmt-compute==35.0.0 azure-mgmt-network==29.0.0 "
        "azure-mgmt-resource==24.0.0 azure-common==1.1.28 msrest==0.7.1 msrestazure==0.6.4.post1",
    ),
}
"""What Ray's autoscaler on the head asks the cloud with; versions of Ray 2.60's own defaults."""
_OBJECT_STORE_BYTES = 10**9
"""Of the CPU profile: Ray would take 30 % of the machine's memory, which models need."""


def ray_up_file(cluster: ClusterDescription) -> str:
    """Text of the file."""
    return yaml_text(_ray_up_table(cluster), name=cluster.name)


def _ray_up_table(cluster: ClusterDescription) -> dict[str, Any]:
    """The file as plain values."""
    return {
        "cluster_name": cluster.name,
        **_sizes(cluster),
        "provider": _provider(cluster),
        "auth": _auth(cluster),
        **({"docker": _docker(cluster)} if cluster.image else {}),
        **_node_types(cluster),
        "file_mounts": _file_mounts(cluster),
        **({} if cluster.image else {"rsync_exclude": list(_EXCLUDED)}),
        **_setup(cluster),
        "head_start_ray_commands": [_stop(cluster), _start_head(cluster)],
        "worker_start_ray_commands": [_stop(cluster), _start_worker(cluster)],
    }


def _sizes(cluster: ClusterDescription) -> dict[str, Any]:
    number = sum(group.max for group in cluster.workers)
    # The local provider counts its machines by itself.
    return {"max_workers": number} if isinstance(cluster.place, CLOUDS) else {}


def _provider(cluster: ClusterDescription) -> dict[str, Any]:
    place = cluster.place
    if isinstance(place, Local):
        return {"type": "local", "head_ip": "127.0.0.1", "worker_ips": []}
    if isinstance(place, OnPremises):
        return {"type": "local", "head_ip": place.head_ip, "worker_ips": list(place.worker_ips)}
    if isinstance(place, Azure):
        group = {"location": place.region, "resource_group": place.resource_group}
        return {"type": "azure", **group, "cache_stopped_nodes": False}
    assert isinstance(place, Aws | Gcp), "ray up is for machines and clouds"
    where = {"region": place.region, "availability_zone": ",".join(place.zones)}
    project = {"project_id": place.project} if isinstance(place, Gcp) else {}
    # A stopped machine keeps its disk, which costs, and its old image.
    return {"type": place.kind, **where, **project, "cache_stopped_nodes": False}


def _auth(cluster: ClusterDescription) -> dict[str, str]:
    place = cluster.place
    assert isinstance(place, Local | OnPremises | Aws | Gcp | Azure), "only these log in by ssh"
    key = {"ssh_private_key": place.ssh_private_key} if place.ssh_private_key else {}
    return {"ssh_user": place.ssh_user, **key}


def _docker(cluster: ClusterDescription) -> dict[str, Any]:
    path = cluster.storage.path
    shared = min([machine.shm_gib for machine in cluster.workers], default=cluster.head.shm_gib)
    return {
        "image": cluster.image,
        "container_name": _CONTAINER,
        "pull_before_run": True,
        "run_options": ["--ulimit nofile=65536:65536", f"--volume {path}:{path}"],
        "head_run_options": [f"--shm-size={cluster.head.shm_gib:g}g"],
        "worker_run_options": [f"--shm-size={shared:g}g"],
    }


def _node_types(cluster: ClusterDescription) -> dict[str, Any]:
    if not isinstance(cluster.place, CLOUDS):
        return {}
    head = {"resources": _resources(cluster, cluster.head, is_head=True)}
    types: dict[str, Any] = {_HEAD: {**head, "node_config": _node_config(cluster, cluster.head)}}
    for group in cluster.workers:
        types[group.name] = {
            "min_workers": group.min,
            "max_workers": group.max,
            "resources": _resources(cluster, group, is_head=False),
            "node_config": _node_config(cluster, group),
        }
    return {"available_node_types": types, "head_node_type": _HEAD}


def _resources(cluster: ClusterDescription, machine: Machine, *, is_head: bool) -> dict[str, int]:
    # No trial belongs on a head without GPUs: it holds Ray's tables and the driver.
    cpus = 0 if is_head and cluster.workers and not machine.gpus else machine.cpus
    return {"CPU": cpus, "GPU": machine.gpus}


def _node_config(cluster: ClusterDescription, machine: Machine) -> dict[str, Any]:
    place, is_spot = cluster.place, isinstance(machine, WorkerGroup) and machine.is_spot
    if isinstance(place, Aws):
        return _aws_machine(place, machine, is_spot=is_spot)
    if isinstance(place, Gcp):
        return _gcp_machine(place, machine, is_spot=is_spot)
    assert isinstance(place, Azure), "a cloud"
    return _azure_machine(place, machine, is_spot=is_spot)


def _aws_machine(place: Aws, machine: Machine, *, is_spot: bool) -> dict[str, Any]:
    disk = {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": machine.disk_gib, "VolumeType": "gp3"}}
    market = {"InstanceMarketOptions": {"MarketType": "spot"}} if is_spot else {}
    return {
        "InstanceType": machine.instance,
        "ImageId": place.machine_image,
        "BlockDeviceMappings": [disk],
        **market,
    }


def _gcp_machine(place: Gcp, machine: Machine, *, is_spot: bool) -> dict[str, Any]:
    source = {"diskSizeGb": machine.disk_gib, "sourceImage": place.machine_image}
    scheduling: dict[str, Any] = {}
    if machine.gpus or is_spot:
        # Machines with GPUs cannot move to another host.
        scheduling = {"onHostMaintenance": "TERMINATE", "automaticRestart": False}
    if is_spot:
        scheduling |= {"provisioningModel": "SPOT"}
    disk = {"boot": True, "autoDelete": True, "type": "PERSISTENT", "initializeParams": source}
    return {
        "machineType": machine.instance,
        "disks": [disk],
        **({"scheduling": scheduling} if scheduling else {}),
    }


def _azure_machine(place: Azure, machine: Machine, *, is_spot: bool) -> dict[str, Any]:
    names = ("imagePublisher", "imageOffer", "imageSku", "imageVersion")
    image = dict(zip(names, place.machine_image.split(":"), strict=True))
    spot = {"priority": "Spot"} if is_spot else {}
    size = f"Standard_{machine.instance.removeprefix('Standard_')}"
    return {"azure_arm_parameters": {"vmSize": size, **image, **spot}}


def _file_mounts(cluster: ClusterDescription) -> dict[str, str]:
    secrets = {f"{COPY}/secrets": cluster.token.file.rpartition("/")[0] or "."}
    return secrets if cluster.image else {f"{COPY}/repository": ".", **secrets}


def _setup(cluster: ClusterDescription) -> dict[str, list[str]]:
    if not cluster.image:
        return {
            "setup_commands": [
                f"make -C {COPY}/repository setup",
                # `ray down` and `ray exec` look for `ray` on the login shell's path.
                f"mkdir -p ~/.local/bin && ln -sf {COPY}/repository/.venv/bin/ray ~/.local/bin/ray",
            ]
        }
    # On the machine itself, before the container that mounts the folder.
    path, nfs = cluster.storage.path, cluster.storage.nfs
    mount = f"mountpoint -q {path} || sudo mount -t nfs4 -o hard,nofail {nfs} {path}"
    return {
        "initialization_commands": [f"sudo mkdir -p {path}", *([mount] if nfs else [])],
        # Said, since Ray would install another Ray and more into the image.
        "setup_commands": [],
        "worker_setup_commands": [],
        "head_setup_commands": list(_CLOUD_CLIENT.get(cluster.place.kind, ())),
    }


def _stop(cluster: ClusterDescription) -> str:
    return "ray stop" if cluster.image else "~/.local/bin/ray stop"


def in_repository(cluster: ClusterDescription) -> str:
    """What a shell on a node does before a command of ours."""
    if cluster.image:
        return f"cd {IMAGE_REPOSITORY} && {exports(node_environment(cluster))}"
    path = f'cd {COPY}/repository && PATH="$PWD/.venv/bin:$PATH"'
    return f"{path} {exports(node_environment(cluster))}"


def _start_head(cluster: ClusterDescription) -> str:
    is_cloud = isinstance(cluster.place, CLOUDS)
    autoscaler = "" if is_cloud else "RAY_enable_autoscaler_v2=0 "
    address = "" if is_cloud else f"--node-ip-address={_provider(cluster)['head_ip']} "
    return (
        f"{in_repository(cluster)} {autoscaler}ray start --head {address}--port={_PORT} "
        f"{_slots(cluster, cluster.head, is_head=True)}"
        # The dashboard and job server answer on the head alone; `ray exec` reaches them by ssh.
        "--dashboard-host=127.0.0.1 --dashboard-port=8265 "
        "--autoscaling-config=~/ray_bootstrap_config.yaml"
    )


def _start_worker(cluster: ClusterDescription) -> str:
    machine = cluster.workers[0] if cluster.workers else cluster.head
    slots = _slots(cluster, machine, is_head=False)
    return f"{in_repository(cluster)} ray start --address=$RAY_HEAD_IP:{_PORT} {slots}".rstrip()


def _slots(cluster: ClusterDescription, machine: Machine, *, is_head: bool) -> str:
    # The autoscaler of a cloud gives each type its own; a machine of one's own is told here.
    if isinstance(cluster.place, CLOUDS):
        return ""
    found = _resources(cluster, machine, is_head=is_head)
    store = f"--object-store-memory={_OBJECT_STORE_BYTES} " * (cluster.profile == "cpu")
    return f"--num-cpus={found['CPU']} --num-gpus={found['GPU']} {store}"
