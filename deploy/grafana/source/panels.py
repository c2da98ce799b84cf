"""The shapes of Grafana's dashboard JSON (schema 39: Grafana 10.4 and newer), as far as these dashboards need them."""

# Every query asks what `$datasource` is set to.
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
DASHBOARDS = {
    "observer-node": "Node",
    "observer-http": "HTTP",
    "observer-websocket": "WebSocket",
    "observer-postgres": "Postgres",
    "observer-redis": "Redis",
    "observer-flows": "Flows",
}
WIDTH = 24
HEIGHT = 8

GREEN, YELLOW, ORANGE, RED, BLUE = "green", "yellow", "orange", "red", "blue"


def query(expression, legend=""):
    """A query; the legend names series by their labels: {{process}}."""
    return {"expr": expression, "legendFormat": legend or "__auto"}


def quantiles(recorded, legend):
    """p50, p95 and p99 as the rules record them."""
    return [query(f"{recorded.format(q=q)}", f"{q} {legend}") for q in ("p50", "p95", "p99")]


def histogram_quantiles(selected, by, legend, over="$__rate_interval"):
    """p50, p95 and p99 of a histogram's buckets by more labels than `le`."""
    labels = ", ".join([*by, "le"])
    sums = f"sum by ({labels}) (rate({selected}[{over}]))"
    return [query(f"histogram_quantile({n / 100}, {sums}) >= 0", f"p{n} {legend}") for n in (50, 95, 99)]


def panel(kind, title, about, queries, unit, width, height, **more):
    field = {"unit": unit, "links": more.pop("links", [])}
    for key in ("min", "max", "decimals", "noValue"):
        if key in more:
            field[key] = more.pop(key)
    steps = [{"color": more.pop("base", GREEN), "value": None}]
    steps += [{"color": color, "value": value} for value, color in more.pop("thresholds", [])]
    field["thresholds"] = {"mode": "absolute", "steps": steps}
    field["color"] = {"mode": more.pop("color", "palette-classic")}
    field["custom"] = more.pop("custom", {})
    field["mappings"] = more.pop("mappings", [])
    targets = [
        {"refId": chr(ord("A") + at), "datasource": DATASOURCE, "editorMode": "code"}
        | {"range": True, "instant": False, "format": "time_series"}
        | one
        for at, one in enumerate(queries)
    ]
    return {
        "type": kind,
        "title": title,
        "description": about,
        "datasource": DATASOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": field, "overrides": more.pop("overrides", [])},
        "gridPos": {"w": width, "h": height},
        **more,
    }


def lines(title, about, queries, unit, width=8, height=HEIGHT, stacked=False, mirrored=None, **more):
    """Values over time. Series whose name matches `mirrored` go downwards; thresholds are dashed lines."""
    custom = {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 25 if stacked else 8,
        "gradientMode": "none",
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "dashed" if more.get("thresholds") else "off"},
        "axisSoftMin": 0,
    }
    overrides = more.pop("overrides", [])
    if mirrored:
        match = {"id": "byRegexp", "options": f"/{mirrored}/"}
        down = {"id": "custom.transform", "value": "negative-Y"}
        overrides.append({"matcher": match, "properties": [down]})
    legend = {"displayMode": "table", "placement": "bottom", "showLegend": True}
    legend |= {"calcs": ["lastNotNull", "max"], "sortBy": "Max", "sortDesc": True}
    options = {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
    return panel(
        "timeseries", title, about, queries, unit, width, height, custom=custom, options=options,
        overrides=overrides, **more,
    )


def colored(name, color):
    """An override: the series of this name has this color."""
    properties = [{"id": "color", "value": {"mode": "fixed", "fixedColor": color}}]
    return {"matcher": {"id": "byName", "options": name}, "properties": properties}


def stat(title, about, expression, unit, width=4, height=4, base=GREEN, calc="lastNotNull", **more):
    """One number, with its course behind it, colored by its thresholds."""
    reduce = {"calcs": [calc], "fields": "", "values": False}
    options = {"reduceOptions": reduce, "colorMode": "value", "graphMode": "area", "textMode": "auto"}
    options |= {"justifyMode": "auto", "orientation": "auto"}
    return panel(
        "stat", title, about, [query(expression)], unit, width, height, base=base, options=options,
        color="thresholds", **more,
    )


def heat(title, about, selected, unit, width=8, height=HEIGHT):
    """How many observations fell into each bucket of a histogram, over time."""
    one = query(f"sum by (le) (increase({selected}[$__rate_interval]))", "{{le}}") | {"format": "heatmap"}
    color = {"mode": "scheme", "scheme": "Oranges", "steps": 64, "exponent": 0.5, "fill": "dark-orange"}
    options = {
        "calculate": False,
        "color": color | {"scale": "exponential", "reverse": False},
        "cellGap": 1,
        "filterValues": {"le": 1e-9},
        "rowsFrame": {"layout": "auto"},
        "yAxis": {"unit": unit, "axisPlacement": "left", "reverse": False},
        "tooltip": {"mode": "single", "yHistogram": True, "showColorScale": True},
        "legend": {"show": True},
        "exemplars": {"color": "rgba(255,0,255,0.7)"},
        "cellValues": {},
    }
    return panel("heatmap", title, about, [one], unit, width, height, options=options)


def bars(title, about, expression, legend, unit, width=8, height=HEIGHT, **more):
    """A bar for each series, by its value now."""
    reduce = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    options = {"reduceOptions": reduce, "displayMode": "gradient", "orientation": "horizontal"}
    options |= {"showUnfilled": True, "valueMode": "color", "minVizWidth": 8, "minVizHeight": 16}
    one = query(expression, legend) | {"instant": True, "range": False}
    return panel(
        "bargauge", title, about, [one], unit, width, height, options=options, color="thresholds", **more
    )


def table(title, about, columns, hidden, names, units, width=WIDTH, height=12, sort=None, **more):
    """A row for each set of labels. Columns are (name, expression); `names` renames labels in their order."""
    queries = [query(expression) | {"instant": True, "range": False, "format": "table"} for _, expression in columns]
    shown = {f"Value #{chr(ord('A') + at)}": name for at, (name, _) in enumerate(columns)}
    if len(columns) == 1:
        shown = {"Value": columns[0][0]}
    order = [*names, *shown]
    organize = {
        "excludeByName": dict.fromkeys(["Time", "__name__", *hidden], True),
        "indexByName": {name: at for at, name in enumerate(order)},
        "renameByName": names | shown,
    }
    transformations = [{"id": "merge", "options": {}}, {"id": "organize", "options": organize}]
    overrides = [
        {"matcher": {"id": "byName", "options": name}, "properties": [{"id": "unit", "value": unit}]}
        for name, unit in units.items()
    ]
    options = {"showHeader": True, "cellHeight": "sm"}
    options["sortBy"] = [{"displayName": sort, "desc": True}] if sort else []
    return panel(
        "table", title, about, queries, "short", width, height, transformations=transformations,
        options=options, overrides=overrides + more.pop("overrides", []),
        custom={"align": "auto", "filterable": True}, **more,
    )


def row(title, *panels):
    """A heading, and the panels below it from left to right; a full row begins the next."""
    return {"title": title, "panels": list(panels)}


def place(rows):
    """Panels of all rows, with places on the grid and numbers."""
    placed, top, number = [], 0, 1
    for one in rows:
        heading = {"type": "row", "title": one["title"], "collapsed": False, "panels": []}
        placed.append(heading | {"id": number, "gridPos": {"x": 0, "y": top, "w": WIDTH, "h": 1}})
        number, top, left, tallest = number + 1, top + 1, 0, 0
        for shown in one["panels"]:
            width, height = shown["gridPos"]["w"], shown["gridPos"]["h"]
            if left + width > WIDTH:
                left, top, tallest = 0, top + tallest, 0
            grid = {"x": left, "y": top, "w": width, "h": height}
            placed.append(shown | {"id": number, "gridPos": grid})
            number, left, tallest = number + 1, left + width, max(tallest, height)
        top += tallest
    return placed


def labels(name, label, about, asked):
    """A variable of several values that a label of a metric has."""
    return {
        "type": "query",
        "name": name,
        "label": label,
        "description": about,
        "datasource": DATASOURCE,
        "query": {"query": f"label_values({asked}, {name})", "refId": "variable"},
        "multi": True,
        "includeAll": True,
        "allValue": ".+",
        "current": {"text": ["All"], "value": ["$__all"]},
        "refresh": 2,
        "sort": 1,
        "options": [],
    }


def variables(process, server):
    """`process` and `server` are the metrics whose labels are offered; not every layer has servers."""
    source = {"type": "datasource", "name": "datasource", "label": "Prometheus", "query": "prometheus"}
    source |= {"current": {}, "options": [], "refresh": 1, "regex": ""}
    ends = [("All", "$__all"), ("client", "client"), ("server", "server")]
    role = {
        "type": "custom",
        "name": "role",
        "label": "End",
        "description": "Of a connection between two processes of one host, both ends are seen.",
        "query": "client,server",
        "multi": False,
        "includeAll": True,
        "allValue": ".+",
        "current": {"text": "All", "value": "$__all"},
        "options": [{"text": text, "value": value, "selected": text == "All"} for text, value in ends],
    }
    within = '{instance=~"$instance"}'
    found = [
        source,
        labels("instance", "Host", "What Prometheus scrapes.", "observer_build_info"),
        labels("process", "Process", "By its command name.", process + within),
        role,
    ]
    if server:
        asked = server + '{instance=~"$instance", process=~"$process"}'
        found.append(labels("server", "Server", "The server end of connections.", asked))
    return found


# Other dashboards show the same hosts, processes and time. Servers of one protocol are none of another.
KEPT = "&".join(f"${{{name}:queryparam}}" for name in ("datasource", "instance", "process", "role"))


def link(uid, title):
    url = f"/d/{uid}?{KEPT}"
    return {"type": "link", "title": title, "url": url, "keepTime": True, "icon": "dashboard", "tags": []}


def dashboard(uid, title, about, layer, rows, process="observer_connections", server=None):
    """A dashboard; `layer` is the label of the alerts that it marks."""
    shown = f'layer=~"{layer}", ' if layer else ""
    alerts = {
        "name": "Alerts",
        "enable": True,
        "datasource": DATASOURCE,
        "expr": f'ALERTS{{alertstate="firing", {shown}instance=~"$instance"}}',
        "iconColor": RED,
        "titleFormat": "{{alertname}}",
        "textFormat": "{{process}} {{server}}",
        "tagKeys": "alertname,severity",
        "useValueForTime": False,
    }
    return {
        "uid": uid,
        "title": f"observer: {title}",
        "description": about,
        "tags": ["observer"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "links": [link(other, name) for other, name in DASHBOARDS.items() if other != uid],
        "annotations": {"list": [alerts]},
        "templating": {"list": variables(process, server)},
        "panels": place(rows),
    }


def to(uid, title, process="${__field.labels.process:percentencode}"):
    """A link from a series to another dashboard, which shows the same host and time, and its process."""
    keep = "${__url_time_range}&${datasource:queryparam}&${instance:queryparam}"
    return {"title": title, "url": f"/d/{uid}?{keep}&var-process={process}"}
