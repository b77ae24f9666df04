"""What `lidstudy doctor` looks at, in the order in which it is shown: one file a group, and one line here."""

from typing import Final

from study.doctor._base import Look
from study.doctor.devices import look_at_devices
from study.doctor.file_system import look_at_file_system
from study.doctor.machine import look_at_machine
from study.doctor.stores import look_at_stores
from study.doctor.versions import look_at_extras, look_at_versions

LOOKS: Final[dict[str, Look]] = {
    "versions": look_at_versions,
    "extras": look_at_extras,
    "machine": look_at_machine,
    "devices": look_at_devices,
    "workspace": look_at_file_system,
    "stores": look_at_stores,
}
