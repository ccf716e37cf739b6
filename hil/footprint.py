"""Sizes and symbols of a firmware image, read from its ELF file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile

from tfsparse.errors import UserError

FLASH_SECTIONS = (".isr_vector", ".text", ".rodata", ".data")
STATIC_SECTIONS = (".data", ".bss")  # in RAM


@dataclass(frozen=True)
class Symbol:
    name: str
    section: str
    size: int  # bytes
    is_object: bool  # data, not code


@dataclass(frozen=True)
class Footprint:
    """What an image takes. All sizes in bytes."""

    sections: dict[str, int]
    symbols: tuple[Symbol, ...]
    build_id: str  # the linker's SHA-1 over the image

    @property
    def flash_total(self) -> int:
        """.isr_vector + .text + .rodata + .data: what is written to the chip."""
        return sum(self.sections.get(name, 0) for name in FLASH_SECTIONS)

    @property
    def statics(self) -> int:
        """.data + .bss"""
        return sum(self.sections.get(name, 0) for name in STATIC_SECTIONS)

    def size_of(self, name: str) -> int:
        """Size of a symbol; 0 where the image has none of that name."""
        return sum(symbol.size for symbol in self.symbols if symbol.name == name)


def read_footprint(elf: Path) -> Footprint:
    """Raises UserError where `elf` is not one of our firmware images."""
    try:
        with elf.open("rb") as stream:
            file = ELFFile(stream)
            sections = {
                section.name: section["sh_size"]
                for section in file.iter_sections()
                if section["sh_flags"] & SH_FLAGS.SHF_ALLOC
            }
            table = file.get_section_by_name(".symtab")
            symbols = tuple(_symbols(file, table)) if table else ()
            build_id = _build_id(file, table)
    except (ELFError, OSError) as error:
        raise UserError(f"{elf} is not a firmware image ({error}); build one with pio run") from error
    unknown = set(sections) - {*FLASH_SECTIONS, *STATIC_SECTIONS, ".stack"}
    if any(sections[name] for name in unknown):
        # A section that no figure counts would make the figures wrong.
        raise UserError(f"{elf} has the sections {sorted(unknown)}, which hal/sections.ld gives no place")
    return Footprint(sections, symbols, build_id)


def _symbols(file: ELFFile, table) -> list[Symbol]:
    names = [section.name for section in file.iter_sections()]
    return [
        Symbol(
            name=symbol.name,
            section=names[symbol["st_shndx"]],
            size=symbol["st_size"],
            is_object=symbol["st_info"]["type"] == "STT_OBJECT",
        )
        for symbol in table.iter_symbols()
        if isinstance(symbol["st_shndx"], int) and symbol["st_size"]
    ]


def _build_id(file: ELFFile, table) -> str:
    """The note that the linker script keeps in .rodata at `firmware_build_id`: 16 bytes of header, then 20 of SHA-1."""
    found = table.get_symbol_by_name("firmware_build_id") if table else None
    rodata = file.get_section_by_name(".rodata")
    if not found or rodata is None:
        raise ELFError("no build id")
    offset = found[0]["st_value"] - rodata["sh_addr"] + 16
    return rodata.data()[offset : offset + 20].hex()
