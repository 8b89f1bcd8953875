package registrytest

import (
	"net/http"
	"strings"
	"sync"
)

// Hook is called in place of every answer, on all hosts; next gives the normal
// one. It injects faults: write something else, wait, cut the connection with
// panic(http.ErrAbortHandler), or wrap w.
type Hook func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc)

// Rule answers some of the requests in a way of its own.
type Rule struct {
	// Host, Method and Kind select requests, as in Request; "" = any.
	Host         Host
	Method, Kind string
	// Reference is the last component of the path, a tag or a digest; "" = any.
	Reference string
	// Skip lets so many matching requests pass by first. Times is how many are
	// answered after that; 0 = all.
	Skip, Times int
	// Hook is the answer.
	Hook Hook
}

// Faults are what an upstream does instead of its normal answers. All methods are safe
// for concurrent use.
type Faults struct {
	mu    sync.Mutex
	hook  Hook
	rules []*activeRule
}

type activeRule struct {
	Rule

	matched int
}

// Hook installs h (nil = none) and returns the one before.
func (f *Faults) Hook(h Hook) (previous Hook) {
	f.mu.Lock()
	defer f.mu.Unlock()
	previous, f.hook = f.hook, h
	return previous
}

// On adds a rule. The first rule that matches, and is not used up, answers; a
// Hook that is installed goes before all of them.
func (f *Faults) On(rule Rule) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = append(f.rules, &activeRule{Rule: rule})
}

// Off forgets all rules. Answers that have begun go on as they began.
func (f *Faults) Off() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = nil
}

// hookFor returns what answers a request in place of the server; nil = nothing.
func (f *Faults) hookFor(host Host, kind string, r *http.Request) Hook {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hook != nil {
		return f.hook
	}
	for _, rule := range f.rules {
		if !rule.matches(host, kind, r) {
			continue
		}
		rule.matched++
		if n := rule.matched - rule.Skip; n > 0 && (rule.Times == 0 || n <= rule.Times) {
			return rule.Hook
		}
	}
	return nil
}

func (r *activeRule) matches(host Host, kind string, req *http.Request) bool {
	reference := req.URL.Path[strings.LastIndexByte(req.URL.Path, '/')+1:]
	return (r.Host == "" || r.Host == host) && (r.Method == "" || r.Method == req.Method) &&
		(r.Kind == "" || r.Kind == kind) && (r.Reference == "" || r.Reference == reference)
}
