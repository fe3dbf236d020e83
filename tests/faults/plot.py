# SPDX-License-Identifier: Apache-2.0
"""A picture of a run: what was answered, how fast, and what was done to the members meanwhile. SVG, without a library.

    lanes       a row for each group of faults, a bar for each fault
    throughput  operations a second: ok, fail, unknown
    latency     of those that are ok: median, 95th and 99th percentile, on a logarithmic scale
"""
import math
from xml.sax.saxutils import escape

import schedule

WIDTH = 1280
LEFT, RIGHT, TOP = 92, 24, 76
LANE = 16
PANEL = 210
GAP = 44
BUCKETS = 240

# Okabe and Ito's colours, which most eyes tell apart, and three more.
COLOURS = {"kill": "#D55E00", "pause": "#E69F00", "partition": "#0072B2", "delay": "#56B4E9", "loss": "#5B7C99", "clock": "#CC79A7",
           "disk": "#8C6D31", "power": "#9C2A2A", "member": "#009E73", "restart": "#7FB069", "admin": "#8A8A8A",
           "backup": "#B0A160", "corrupt": "#6A3D9A"}
OK, FAIL, UNKNOWN = "#2A9D5C", "#E0A100", "#C8352B"
PERCENTILES = ((50, "#1F5FA8", "median"), (95, "#6FA3D8", "95 %"), (99, "#C3541F", "99 %"))


def nice_step(span, wanted):
    """1, 2 or 5 times a power of ten, so that there are about WANTED of them in SPAN."""
    raw = span / max(1, wanted)
    power = 10 ** math.floor(math.log10(raw)) if raw > 0 else 1
    for factor in (1, 2, 5, 10):
        if factor * power >= raw:
            return factor * power
    return 10 * power


def number_text(value):
    return f"{value:,.0f}" if value >= 1 or value == 0 else f"{value:g}"


def ms_text(ms):
    return f"{ms / 1000:g} s" if ms >= 1000 else f"{ms:g} ms"


def percentile(values, percent):
    """Of sorted VALUES, none of them interpolated."""
    return values[min(len(values) - 1, math.ceil(len(values) * percent / 100) - 1)]


class Series:
    """The operations, in buckets of time."""

    def __init__(self, operations, begin, end):
        self.begin = begin
        self.width = max((end - begin) / BUCKETS, 1)
        self.count = BUCKETS
        self.rates = {"ok": [0] * BUCKETS, "fail": [0] * BUCKETS, "info": [0] * BUCKETS}
        latencies = [[] for _ in range(BUCKETS)]
        for operation in operations:
            bucket = min(BUCKETS - 1, max(0, int((operation.end - begin) / self.width)))
            self.rates[operation.type][bucket] += 1
            if operation.type == "ok":
                latencies[bucket].append((operation.end - operation.begin) / 1e6)
        for rates in self.rates.values():
            for bucket in range(BUCKETS):
                rates[bucket] *= 1e9 / self.width
        self.latencies = [sorted(found) for found in latencies]

    def percentiles(self, percent):
        """ms; None where nothing was answered."""
        return [percentile(found, percent) if found else None for found in self.latencies]


class Picture:
    def __init__(self, title, subtitle, operations, faults):
        begin = min([o.begin for o in operations] + [f[0] for f in faults], default=0)
        end = max([o.end for o in operations] + [f[1] for f in faults], default=1)
        self.begin, self.end = begin, max(end, begin + 1)
        self.title, self.subtitle = title, subtitle
        self.faults = faults
        self.series = Series(operations, self.begin, self.end)
        present = {schedule.group_of(kind) for _, _, kind in faults}
        self.groups = [group for group in schedule.GROUPS if group in present]
        self.lanes_end = TOP + LANE * max(1, len(self.groups))
        self.throughput_top = self.lanes_end + 34
        self.latency_top = self.throughput_top + PANEL + GAP
        self.height = self.latency_top + PANEL + 58
        self.out = []

    def x(self, when):
        return LEFT + (when - self.begin) / (self.end - self.begin) * (WIDTH - LEFT - RIGHT)

    def add(self, text):
        self.out.append(text)

    def text(self, x, y, text, size=12, anchor="start", colour="#333", weight="normal"):
        self.add(f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}" '
                 f'font-weight="{weight}">{escape(text)}</text>')

    def line(self, x1, y1, x2, y2, colour="#E3E6EA", width=1):
        self.add(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"/>')

    # ---- parts ----

    def draw_faults(self):
        """Bars in the lanes, and a shade of them behind the panels."""
        for begin, end, kind in self.faults:
            group = schedule.group_of(kind)
            colour = COLOURS[group]
            x, width = self.x(begin), max(self.x(end) - self.x(begin), 1.5)
            row = TOP + LANE * self.groups.index(group)
            seconds = (end - begin) / 1e9
            self.add(f'<rect x="{x:.1f}" y="{row + 2}" width="{width:.1f}" height="{LANE - 4}" rx="2" fill="{colour}">'
                     f'<title>{escape(kind)}, {seconds:.1f} s</title></rect>')
            for top in (self.throughput_top, self.latency_top):
                self.add(f'<rect x="{x:.1f}" y="{top}" width="{width:.1f}" height="{PANEL}" fill="{colour}" fill-opacity="0.10"/>')

    def draw_lanes(self):
        for number, group in enumerate(self.groups):
            middle = TOP + LANE * number + LANE / 2
            self.line(LEFT, middle, WIDTH - RIGHT, middle, "#EEF0F2")
            self.text(LEFT - 8, middle + 4, group, 11, "end", COLOURS[group], "bold")
        if not self.groups:
            self.text(LEFT, TOP + 12, "no faults", 11, colour="#888")

    def draw_time(self):
        span = (self.end - self.begin) / 1e9
        step = nice_step(span, 12)
        for tick in range(int(span / step) + 1):
            seconds = tick * step
            x = self.x(self.begin + seconds * 1e9)
            for top in (self.throughput_top, self.latency_top):
                self.line(x, top, x, top + PANEL)
            self.text(x, self.latency_top + PANEL + 18, f"{seconds:g}", 11, "middle")
        self.text((LEFT + WIDTH - RIGHT) / 2, self.latency_top + PANEL + 38, "seconds", 12, "middle", "#666")

    def frame(self, top, name):
        self.add(f'<rect x="{LEFT}" y="{top}" width="{WIDTH - LEFT - RIGHT}" height="{PANEL}" fill="none" stroke="#9AA3AD"/>')
        self.text(LEFT, top - 9, name, 13, weight="bold")

    def legend(self, top, entries):
        x = WIDTH - RIGHT
        for colour, name in reversed(entries):
            x -= 7.2 * len(name) + 30
            self.add(f'<rect x="{x:.1f}" y="{top - 18}" width="14" height="10" rx="2" fill="{colour}"/>')
            self.text(x + 19, top - 9, name, 12)

    def path(self, points, colour, width):
        """POINTS: (x, y), None where the line is broken."""
        parts, pen = [], "M"
        for point in points:
            if point is None:
                pen = "M"
                continue
            parts.append(f"{pen}{point[0]:.1f},{point[1]:.1f}")
            pen = "L"
        if parts:
            self.add(f'<path d="{" ".join(parts)}" fill="none" stroke="{colour}" stroke-width="{width}" stroke-linejoin="round" '
                     f'stroke-linecap="round"/>')

    def middle(self, bucket):
        return self.x(self.series.begin + (bucket + 0.5) * self.series.width)

    def draw_throughput(self):
        top, rates = self.throughput_top, self.series.rates
        highest = max(max(values) for values in rates.values()) or 1
        step = nice_step(highest * 1.05, 5)
        limit = step * math.ceil(highest * 1.05 / step)

        def y(value):
            return top + PANEL - value / limit * PANEL

        for tick in range(int(round(limit / step)) + 1):
            self.line(LEFT, y(tick * step), WIDTH - RIGHT, y(tick * step))
            self.text(LEFT - 8, y(tick * step) + 4, number_text(tick * step), 11, "end")
        ok = [(self.middle(b), y(v)) for b, v in enumerate(rates["ok"])]
        area = " ".join(f"L{px:.1f},{py:.1f}" for px, py in ok)
        self.add(f'<path d="M{ok[0][0]:.1f},{y(0):.1f} {area} L{ok[-1][0]:.1f},{y(0):.1f} Z" fill="{OK}" fill-opacity="0.16"/>')
        self.path(ok, OK, 1.6)
        for name, colour in (("fail", FAIL), ("info", UNKNOWN)):
            self.path([(self.middle(b), y(v)) if v else None for b, v in enumerate(rates[name])], colour, 1.6)
            for bucket, value in enumerate(rates[name]):
                if value:
                    self.add(f'<circle cx="{self.middle(bucket):.1f}" cy="{y(value):.1f}" r="1.6" fill="{colour}"/>')
        self.frame(top, "Operations a second")
        self.legend(top, [(OK, "ok"), (FAIL, "fail"), (UNKNOWN, "unknown")])

    def draw_latency(self):
        top = self.latency_top
        lines = [(self.series.percentiles(percent), colour) for percent, colour, _ in reversed(PERCENTILES)]
        known = [v for values, _ in lines for v in values if v is not None]
        low = 10 ** math.floor(math.log10(max(min(known), 0.01))) if known else 0.1
        high = 10 ** math.ceil(math.log10(max(max(known), low * 10))) if known else 1000

        def y(ms):
            return top + PANEL - math.log10(max(ms, low) / low) / math.log10(high / low) * PANEL

        ms = low
        while ms <= high * 1.001:
            self.line(LEFT, y(ms), WIDTH - RIGHT, y(ms))
            self.text(LEFT - 8, y(ms) + 4, ms_text(ms), 11, "end")
            ms *= 10
        for values, colour in lines:
            self.path([(self.middle(b), y(v)) if v is not None else None for b, v in enumerate(values)], colour, 1.5)
        self.frame(top, "Latency")
        self.legend(top, [(colour, name) for _, colour, name in PERCENTILES])

    def draw(self):
        self.add(f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{self.height}" '
                 f'viewBox="0 0 {WIDTH} {self.height}" font-family="Helvetica, Arial, sans-serif">')
        self.add(f'<rect width="{WIDTH}" height="{self.height}" fill="#FFFFFF"/>')
        self.text(LEFT, 30, self.title, 19, weight="bold", colour="#111")
        self.text(LEFT, 52, self.subtitle, 12, colour="#666")
        self.draw_lanes()
        self.draw_time()
        self.draw_faults()
        self.draw_throughput()
        self.draw_latency()
        self.add("</svg>")
        return "\n".join(self.out) + "\n"


def write(path, title, subtitle, operations, faults):
    with open(path, "w", encoding="utf-8") as file:
        file.write(Picture(title, subtitle, operations, faults).draw())
