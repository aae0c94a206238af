"""Neurofeedback in PsychoPy: a disc that grows with the value, responses, and the scanner's triggers.

Copy ``rtflow/client.py`` beside this file, and start it in PsychoPy::

    python psychopy_feedback.py wss://analysis.lab:8443 TOKEN authority.pem

It takes runs one after the other until it is closed with the key Escape.
"""

import sys

from client import Feedback, now

LOW, HIGH = -1.0, 1.0  # value of an empty disc, and of the largest
TRIGGER = "5"
SMALLEST, LARGEST = 0.05, 0.4  # radius, in heights of the window


def radius(value):
    """Radius of the disc for a value, in heights of the window."""
    share = min(1.0, max(0.0, (value - LOW) / (HIGH - LOW)))
    return SMALLEST + share * (LARGEST - SMALLEST)


def show_run(feedback, window, disc, cross, keyboard):
    """Show one run, frame by frame; False if Escape was pressed."""
    keyboard.clearEvents()
    keyboard.clock.reset()
    began = now()  # keys tell their time since then
    triggers, showing = 0, cross
    while feedback.running:
        for key in keyboard.getKeys(waitRelease=False):
            if key.name == "escape":
                return False
            if key.name == TRIGGER:
                triggers += 1
                feedback.trigger(triggers, began + key.rt)
            else:
                feedback.respond(key.name, began + key.rt)

        value = feedback.next()
        if value is not None:
            showing = cross if value.kind == "neutral" or value.value is None else disc
            if showing is disc:
                disc.radius = radius(value.value)
        showing.draw()
        window.flip()  # returns once the frame is on the display
        if value is not None:
            feedback.shown(value.volume)
    return True


def main(url, token, authority=None):
    """Open a window, and show runs."""
    from psychopy import visual
    from psychopy.hardware.keyboard import Keyboard

    window = visual.Window(fullscr=True, units="height", color="black")
    disc = visual.Circle(window, fillColor="white", lineColor=None)
    cross = visual.TextStim(window, text="+", height=0.1)
    keyboard = Keyboard()
    with Feedback(url, token, ca=authority) as feedback:
        while True:
            cross.draw()
            window.flip()
            if feedback.wait_for_run(timeout=0.5):
                if not show_run(feedback, window, disc, cross, keyboard):
                    break
            elif keyboard.getKeys(["escape"]):
                break
    window.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
