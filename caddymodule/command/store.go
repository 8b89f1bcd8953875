package command

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/pullgate/pullgate/internal/operate"
	"github.com/pullgate/pullgate/storage"
)

// storeResult is what came of one store, and how it is printed as JSON.
type storeResult[R any] struct {
	Path string `json:"path"`
	// Address is that of the server that has it open; empty = the command did it.
	Address string `json:"address,omitempty"`
	Report  *R     `json:"report,omitempty"`
	Error   string `json:"error,omitempty"`
	Nothing bool   `json:"nothing,omitempty"`
}

// storeVerb is a verb on stores, whoever has them open: P is its progress, and R its
// report.
type storeVerb[P, R any] struct {
	// doing is what is said to be done, such as "Listing %s".
	doing string
	// what is not complete when it is interrupted; empty = it.
	what    string
	options storage.Options // to open a store that no server has open
	rebuild bool            // its index
	verb    func(g operate.Gateway, tell func(operate.StoreLine[P, R])) error
	// line is the line of progress; nil = there is none.
	line func(p P, since time.Duration) string
	show func(storeResult[R])
	// findings reports whether a report has some; nil = none has.
	findings func(R) bool
}

// run runs the verb on what the run has found, and shows each report, or prints all as
// JSON. What is nowhere is a finding.
func (v storeVerb[P, R]) run(r *run) (code int, err error) {
	results, err := v.ask(r)
	r.out.End()
	if r.json && results != nil {
		err = errors.Join(err, r.printJSON(map[string]any{"storage": results}))
	}
	nothing, done := "", false
	for _, result := range results {
		switch {
		case result.Nothing:
			nothing = result.Error
			continue
		case result.Error != "":
			err = errors.Join(err, errors.New(result.Error))
		default:
			done = true
		}
		if result.Report == nil {
			continue
		}
		if !r.json {
			v.show(result)
		}
		if v.findings != nil && v.findings(*result.Report) {
			code = exitFindings
		}
	}
	switch {
	case r.ctx.Err() != nil:
		return exitFailure, fmt.Errorf("interrupted: %s is not complete", cmp.Or(v.what, "it"))
	case err != nil:
		return exitFailure, err
	case nothing != "" && !done:
		return exitFindings, errors.New(nothing)
	}
	return code, nil
}

func (v storeVerb[P, R]) ask(r *run) (results []storeResult[R], err error) {
	g, done, err := v.gateway(r)
	if err != nil {
		return nil, err
	}
	var todo []string
	err = v.verb(g, func(line operate.StoreLine[P, R]) {
		switch {
		case line.Path == "":
			todo = line.Paths
		case line.Progress != nil:
			if v.line != nil {
				r.out.Show(v.line(*line.Progress, r.out.Since()))
			}
			return
		default:
			results = append(results, storeResult[R]{line.Path, r.address, line.Report, line.Error, line.Nothing})
		}
		r.out.Begin()
		if r.address != "" && len(results) < len(todo) {
			r.out.Say(v.doing+", which the server at %s has open.", todo[len(results)], r.address)
		}
	})
	if closing := done(); closing != nil && err == nil {
		err = closing
	}
	return results, err
}

func (v storeVerb[P, R]) gateway(r *run) (operate.Gateway, func() error, error) {
	o := v.options
	o.Existing = true
	if r.address == "" {
		limits, err := r.config.Limits()
		if err != nil {
			return nil, nil, err
		}
		o.Limits.Pins = limits.Pins
	}
	if !v.rebuild {
		return r.gateway(v.doing, "", o)
	}
	r.out.Say(v.doing+", as no server has it open (%v).", r.path, r.silence)
	r.out.Say("Beginning the index anew.")
	store, err := r.openStorage(o, storage.Rebuild)
	if err != nil {
		return nil, nil, err
	}
	return r.local(store)
}
