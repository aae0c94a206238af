"""A folder of DICOM to files, by the code that reads and converts while a run goes on."""

from rtflow.dicom.offline.bids import BidsChoice
from rtflow.dicom.offline.folder import Conversion, SeriesReport, convert_folder, list_folder
from rtflow.dicom.offline.found import Left

__all__ = ["BidsChoice", "Conversion", "Left", "SeriesReport", "convert_folder", "list_folder"]
