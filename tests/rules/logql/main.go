// Evaluates the rules of a Loki ruler over lines, with Loki's own parser, pipeline and engine.
//
// Argument: a file of rules. On stdin: worlds as JSON, each with the lines of a while. On stdout, for each world and rule,
// the alerts that began to fire, or the samples of a recording rule.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"sort"
	"time"

	"github.com/grafana/dskit/user"
	"github.com/grafana/loki/v3/pkg/logproto"
	"github.com/grafana/loki/v3/pkg/logql"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/timestamp"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/template"
	"go.yaml.in/yaml/v3"
)

type file struct {
	Groups []group `yaml:"groups"`
}

type group struct {
	Name     string         `yaml:"name"`
	Interval model.Duration `yaml:"interval"`
	Rules    []rule         `yaml:"rules"`
}

type rule struct {
	Alert       string            `yaml:"alert"`
	Record      string            `yaml:"record"`
	Expr        string            `yaml:"expr"`
	For         model.Duration    `yaml:"for"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

// A stream's lines, and from when to when the ruler looks, in milliseconds.
type world struct {
	Labels map[string]string `json:"labels"`
	Lines  []line            `json:"lines"`
	From   int64             `json:"from"`
	Until  int64             `json:"until"`
}

type line struct {
	At   int64  `json:"at"`
	Text string `json:"text"`
}

// An alert that began to fire, or a sample.
type outcome struct {
	At          int64             `json:"at"`
	Value       float64           `json:"value"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

func main() {
	text, err := os.ReadFile(os.Args[1])
	check(err)
	var rules file
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	check(decoder.Decode(&rules))
	var worlds []world
	check(json.NewDecoder(os.Stdin).Decode(&worlds))
	answers := make([]map[string][]outcome, 0, len(worlds))
	for _, world := range worlds {
		answer := map[string][]outcome{}
		for _, group := range rules.Groups {
			for _, rule := range group.Rules {
				outcomes, err := rule.evaluate(world, time.Duration(group.Interval))
				if err != nil {
					check(fmt.Errorf("%s%s: %w", rule.Alert, rule.Record, err))
				}
				answer[rule.Alert+rule.Record] = outcomes
			}
		}
		answers = append(answers, answer)
	}
	check(json.NewEncoder(os.Stdout).Encode(answers))
}

func (r rule) evaluate(world world, interval time.Duration) ([]outcome, error) {
	if interval <= 0 {
		return nil, fmt.Errorf("its group has no interval")
	}
	engine := logql.NewEngine(logql.EngineOpts{}, logql.NewMockQuerier(0, world.streams()), logql.NoLimits, nil)
	outcomes := []outcome{}
	since := map[string]time.Time{}
	firing := map[string]bool{}
	for now := time.UnixMilli(world.From); !now.After(time.UnixMilli(world.Until)); now = now.Add(interval) {
		vector, err := instant(engine, r.Expr, now)
		if err != nil {
			return nil, err
		}
		seen := map[string]bool{}
		for _, sample := range vector {
			key := sample.Metric.String()
			seen[key] = true
			if _, there := since[key]; !there {
				since[key] = now
			}
			if r.Alert != "" && (firing[key] || now.Sub(since[key]) < time.Duration(r.For)) {
				continue
			}
			firing[key] = true
			annotations, err := r.expand(sample)
			if err != nil {
				return nil, err
			}
			outcomes = append(outcomes, outcome{now.UnixMilli(), sample.F, sample.Metric.Map(), annotations})
		}
		for key := range since {
			if !seen[key] {
				delete(since, key)
				delete(firing, key)
			}
		}
	}
	return outcomes, nil
}

func instant(engine *logql.QueryEngine, expr string, now time.Time) (promql.Vector, error) {
	params, err := logql.NewLiteralParams(expr, now, now, 0, 0, logproto.FORWARD, 0, nil, nil)
	if err != nil {
		return nil, err
	}
	result, err := engine.Query(params).Exec(user.InjectOrgID(context.Background(), "tests"))
	if err != nil {
		return nil, err
	}
	vector, is := result.Data.(promql.Vector)
	if !is {
		return nil, fmt.Errorf("gives a %s, no vector", result.Data.Type())
	}
	return vector, nil
}

func (r rule) expand(sample promql.Sample) (map[string]string, error) {
	expanded := map[string]string{}
	for name, text := range r.Annotations {
		data := template.AlertTemplateData(sample.Metric.Map(), nil, "", sample)
		text = "{{$labels := .Labels}}{{$value := .Value}}" + text
		expander := template.NewTemplateExpander(context.Background(), text, r.Alert, data,
			model.Time(timestamp.FromTime(time.UnixMilli(sample.T))), nil, &url.URL{}, []string{"missingkey=error"})
		result, err := expander.Expand()
		if err != nil {
			return nil, err
		}
		expanded[name] = result
	}
	return expanded, nil
}

func (w world) streams() []logproto.Stream {
	stream := logproto.Stream{Labels: labels.FromMap(w.Labels).String()}
	for _, line := range w.Lines {
		stream.Entries = append(stream.Entries, logproto.Entry{Timestamp: time.UnixMilli(line.At), Line: line.Text})
	}
	sort.SliceStable(stream.Entries, func(i, j int) bool {
		return stream.Entries[i].Timestamp.Before(stream.Entries[j].Timestamp)
	})
	return []logproto.Stream{stream}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
