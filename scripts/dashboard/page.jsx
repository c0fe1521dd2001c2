// The dashboard as Grafana draws it, with Grafana's own components. draw.mjs gives it the answers to the dashboard's
// queries and a theme as `shown`, and takes its picture.

import {
  createTheme, dateTime, fieldMatchers, FieldType, getDisplayProcessor, getFieldDisplayValues, getMinMaxAndDelta,
  makeTimeRange, ThemeContext, toDataFrame, validateFieldConfig,
} from "@grafana/data";
import {
  BigValue, Button, GlobalStyles, Icon, InlineLabel, PanelChrome, TimeRangePicker, TimeSeries,
} from "@grafana/ui";
import { set } from "lodash";
import { useEffect, useState } from "react";
import { createRoot } from "react-dom/client";
import dashboard from "../../deploy/grafana/kinesis.json";

const { answers, from, to, step, mode } = window.shown;
const times = Array.from({ length: Math.floor((to - from) / step) + 1 }, (_, index) => (from + index * step) * 1000);
const timeZone = "utc";
const timeRange = makeTimeRange(dateTime(from * 1000), dateTime(to * 1000));
const theme = createTheme({ colors: { mode } });

// Grafana's grid: 24 columns, and the height of a row and the gaps in pixels.
const ROW = 30, GAP = 8, WIDTH = window.innerWidth - 2 * GAP;

// One per series, with a value or none for each step of time.
function frames(panel) {
  const found = answers.filter((answer) => answer.panel === panel.id).flatMap(({ legend, series }) =>
    series.map(({ metric, values }) => {
      const numbers = Array.from(times, () => null);
      values.forEach(([time, value]) => { numbers[Math.round((time - from) / step)] = Number(value); });
      const name = legend.replace(/{{(\w+)}}/g, (_, label) => metric[label]);
      return toDataFrame({
        fields: [
          { name: "Time", type: FieldType.time, values: times },
          { name, type: FieldType.number, values: numbers.map((number) => (Number.isFinite(number) ? number : null)) },
        ],
      });
    }));
  const { defaults, overrides } = panel.fieldConfig;
  found.forEach((frame, seriesIndex) => frame.fields.forEach((field) => {
    field.config = structuredClone(field.type === FieldType.number ? defaults : {});
    for (const { matcher, properties } of overrides) {
      if (fieldMatchers.get(matcher.id).get(matcher.options)(field, frame, found)) {
        properties.forEach(({ id, value }) => set(field.config, id, value));
      }
    }
    validateFieldConfig(field.config);
    field.state = { seriesIndex, range: getMinMaxAndDelta(field) };
    field.display = getDisplayProcessor({ field, theme, timeZone });
  }));
  return found;
}

function Stat({ panel, data, ...size }) {
  const { reduceOptions, ...options } = panel.options;
  const [shown] = getFieldDisplayValues({
    data, reduceOptions, fieldConfig: panel.fieldConfig, replaceVariables: (text) => text,
    sparkline: options.graphMode !== "none", theme, timeZone,
  });
  return <BigValue {...size} {...options} value={shown.display} sparkline={shown.sparkline} theme={theme} />;
}

function Lines({ panel, data, ...size }) {
  return <TimeSeries {...size} frames={data} timeRange={timeRange} timeZone={timeZone} legend={panel.options.legend} />;
}

// The dashboard's rows: their titles, and lines of panels. A panel that would show only zeros is left out, and the
// others of its line get its place.
function rows() {
  const found = [];
  for (const panel of dashboard.panels) {
    if (panel.type === "row") {
      found.push({ title: panel.title, lines: new Map() });
      continue;
    }
    const data = frames(panel);
    if (panel.type === "stat" || data.some(({ fields: [, field] }) => field.values.some(Boolean))) {
      const { lines } = found.at(-1), { y } = panel.gridPos;
      lines.set(y, [...(lines.get(y) ?? []), { panel, data }]);
    }
  }
  return found.filter(({ lines }) => lines.size > 0);
}

function Line({ panels }) {
  const width = (WIDTH - (panels.length - 1) * GAP) / panels.length;
  const height = panels[0].panel.gridPos.h * (ROW + GAP) - GAP;
  return (
    <div style={{ display: "flex", gap: GAP, marginBottom: GAP }}>
      {panels.map(({ panel, data }) => {
        const Content = panel.type === "stat" ? Stat : Lines;
        return (
          <PanelChrome key={panel.id} width={width} height={height} title={panel.title} description={panel.description}>
            {(width, height) => <Content panel={panel} data={data} width={width} height={height} />}
          </PanelChrome>
        );
      })}
    </div>
  );
}

function Row({ title, lines }) {
  return (
    <div>
      <div style={{ display: "flex", alignItems: "center", gap: GAP, height: ROW, fontWeight: 500 }}>
        <Icon name="angle-down" />{title}
      </div>
      {[...lines].map(([y, panels]) => <Line key={y} panels={panels} />)}
    </div>
  );
}

function Toolbar() {
  const nothing = () => {};
  return (
    <div style={{ display: "flex", gap: GAP, alignItems: "center", marginBottom: GAP }}>
      <span style={{ fontSize: 18, fontWeight: 500, marginRight: GAP }}>{dashboard.title}</span>
      {dashboard.templating.list.filter(({ type }) => type === "query").map(({ name, label, current }) => (
        <div key={name} style={{ display: "flex" }}>
          <InlineLabel width="auto">{label}</InlineLabel>
          <Button variant="secondary" fill="outline">{current.text}</Button>
        </div>
      ))}
      <span style={{ flexGrow: 1 }} />
      <TimeRangePicker value={timeRange} timeZone={timeZone} onChange={nothing} onChangeTimeZone={nothing}
        onMoveBackward={nothing} onMoveForward={nothing} onZoom={nothing} />
    </div>
  );
}

function Page() {
  // A panel leaves as much room as its labels take, so all are drawn when the font is there.
  const [isReady, setReady] = useState(false);
  useEffect(() => {
    Promise.all([400, 500].map((weight) => document.fonts.load(`${weight} 12px Inter`))).then(() => setReady(true));
  }, []);
  return (
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      {isReady && (
        <div id="dashboard" style={{ padding: GAP }}>
          <Toolbar />
          {rows().map((row) => <Row key={row.title} {...row} />)}
        </div>
      )}
    </ThemeContext.Provider>
  );
}

createRoot(document.body.appendChild(document.createElement("div"))).render(<Page />);
