package registrytest

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// TestFaults has rules take turns as they say, and a hook go before them.
func TestFaults(t *testing.T) {
	t.Parallel()
	var f Faults
	status := func(code int) Hook { return Answer(code, nil, "") }
	f.On(Rule{Method: http.MethodGet, Kind: "tags", Skip: 1, Times: 1, Hook: status(501)})
	f.On(Rule{Host: HostRegistry, Reference: "list", Hook: status(502)})
	r := httptest.NewRequest(http.MethodGet, "/v2/a/tags/list", http.NoBody)
	ask := func(host Host) int {
		hook := f.hookFor(host, "tags", r)
		if hook == nil {
			return 0
		}
		w := httptest.NewRecorder()
		hook(w, r, nil)
		return w.Code
	}
	for n, want := range []int{502, 501, 502} {
		if got := ask(HostRegistry); got != want {
			t.Errorf("request %d: %d, want %d", n, got, want)
		}
	}
	if got := ask(HostCDN); got != 0 {
		t.Errorf("at the CDN: %d", got)
	}
	f.Hook(status(503))
	if got := ask(HostCDN); got != 503 {
		t.Errorf("with a hook: %d", got)
	}
	f.Hook(nil)
	if f.Off(); ask(HostRegistry) != 0 {
		t.Error("a rule answers that is off")
	}
}
