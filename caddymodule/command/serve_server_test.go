package command

import (
	"encoding/json"
	"strings"
	"testing"
)

// The dashboard is for this machine only, and only by its own names, unless its address
// names a host.
func TestDashboardServer(t *testing.T) {
	for address, want := range map[string]string{":5001": "127.0.0.1:5001", "0.0.0.0:5001": "0.0.0.0:5001", "unix//run/page.sock": "unix//run/page.sock", "gate.lan:81": "gate.lan:81"} {
		server := dashboardServer(address)
		raw, err := json.Marshal(server)
		if err != nil {
			t.Fatal(err)
		}
		if server.Listen[0] != want || !strings.Contains(string(raw), "registry_mirror_dashboard") || strings.Contains(string(raw), "421") != (address == ":5001") || strings.Contains(string(raw), `"show_all":true`) != (address == ":5001") {
			t.Errorf("%s: %s", address, raw)
		}
	}
}
