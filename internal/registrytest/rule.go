package registrytest

import (
	"net/http"
	"strings"
)

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

// On adds a rule. The first rule that matches, and is not used up, answers; a
// Hook that is installed goes before all of them.
func (s *Server) On(rule Rule) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = append(s.rules, &activeRule{Rule: rule})
}

// Off forgets all rules. Answers that have begun go on as they began.
func (s *Server) Off() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = nil
}

type activeRule struct {
	Rule

	matched int
}

func (r *activeRule) matches(host Host, kind string, req *http.Request) bool {
	if r.Host != "" && r.Host != host || r.Method != "" && r.Method != req.Method {
		return false
	}
	reference := req.URL.Path[strings.LastIndexByte(req.URL.Path, '/')+1:]
	return (r.Kind == "" || r.Kind == kind) && (r.Reference == "" || r.Reference == reference)
}

// hookFor returns what answers a request in place of the server; nil = nothing.
func (s *Server) hookFor(host Host, r *http.Request) Hook {
	kind := s.kindOf(host, r)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hook != nil {
		return s.hook
	}
	for _, rule := range s.rules {
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
