// SPDX-License-Identifier: Apache-2.0

// The registers of histories (tests/history/README.md), judged by porcupine: a line for each file,
// "valid" or "invalid". It knows nothing of revisions, as our own search does.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"os"

	"github.com/anishathalye/porcupine"
)

type event struct {
	Process      json.RawMessage
	Type         string
	Workload     string
	F            string
	Value        json.RawMessage
	Revision     int64
	Serializable bool
}

type input struct {
	f        string
	key      string
	old, new string // JSON of the values; "null": there is no such key
}

type output struct {
	value   string
	refused bool // a comparison that was false
	unknown bool
}

var model = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[string][]porcupine.Operation{}
		for _, o := range history {
			key := o.Input.(input).key
			byKey[key] = append(byKey[key], o)
		}
		parts := [][]porcupine.Operation{}
		for _, part := range byKey {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() interface{} { return "null" },
	Step: func(state, in, out interface{}) (bool, interface{}) {
		i, o, now := in.(input), out.(output), state.(string)
		switch {
		case i.f == "read":
			return o.value == now, now
		case i.f == "write":
			return true, i.new
		case o.refused:
			return i.old != now, now
		case o.unknown && i.old != now:
			return true, now // it came, and did nothing
		default:
			return i.old == now, i.new
		}
	},
}

func parse(e event) input {
	var pair [2]json.RawMessage
	if err := json.Unmarshal(e.Value, &pair); err != nil {
		panic(err)
	}
	i := input{f: e.F, key: string(pair[0]), old: "null", new: string(pair[1])}
	if e.F == "cas" {
		var change [2]json.RawMessage
		if err := json.Unmarshal(pair[1], &change); err != nil {
			panic(err)
		}
		i.old, i.new = string(change[0]), string(change[1])
	}
	return i
}

// What counts of the answer; false: it says nothing.
func answer(asked, answered event) (output, bool) {
	i := parse(asked)
	switch answered.Type {
	case "ok":
		return output{value: parse(answered).new}, !asked.Serializable
	case "fail":
		return output{refused: true}, i.f == "cas" && answered.Revision > 0
	default:
		return output{unknown: true}, i.f != "read"
	}
}

func read(path string) []porcupine.Operation {
	file, err := os.Open(path)
	if err != nil {
		panic(err)
	}
	defer file.Close()
	type question struct {
		event
		at int64
	}
	open := map[string]question{}
	operations := []porcupine.Operation{}
	add := func(process string, answered event, end int64) {
		asked := open[process]
		delete(open, process)
		if out, counts := answer(asked.event, answered); counts {
			if out.unknown {
				end = math.MaxInt64
			}
			operations = append(operations, porcupine.Operation{
				Input: parse(asked.event), Call: asked.at, Output: out, Return: end})
		}
	}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<26)
	for at := int64(0); lines.Scan(); at++ {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			panic(err)
		}
		process := string(e.Process)
		if e.Workload != "register" {
			continue
		}
		if e.Type == "invoke" {
			open[process] = question{e, at}
		} else {
			add(process, e, at)
		}
	}
	for process := range open {
		add(process, event{Type: "info"}, math.MaxInt64)
	}
	return operations
}

func main() {
	for _, path := range os.Args[1:] {
		if porcupine.CheckOperations(model, read(path)) {
			fmt.Println("valid")
		} else {
			fmt.Println("invalid")
		}
	}
}
