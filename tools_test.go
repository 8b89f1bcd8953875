package pullgate_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestVulnerabilityCheck: where the check is required, one that could not be done is
// no check; elsewhere it says that it was not done.
func TestVulnerabilityCheck(t *testing.T) {
	database := httptest.NewServer(http.NotFoundHandler())
	defer database.Close()
	for _, test := range []struct {
		vuln string
		code int
		says string
	}{
		{"", 0, "vulncheck: not done"},
		{"required", 1, "vulncheck: required, and not done"},
		{"yes", 2, "VULN is 'yes'"},
	} {
		cmd := exec.Command("internal/tools/vulncheck", "nobadger")
		cmd.Env = append(os.Environ(), "GOVULNDB="+database.URL, "VULN="+test.vuln, "no_proxy=*")
		printed, _ := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != test.code || !strings.Contains(string(printed), test.says) {
			t.Errorf("VULN=%q: exit code %d, want %d: %s", test.vuln, code, test.code, printed)
		}
	}
}
