package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// profiled returns where the gateway's profile can be had.
func (g *gateway) profiled() string {
	if g.admin == "" {
		return ""
	}
	return "http://" + g.admin + "/debug/pprof/profile"
}

// profile saves a CPU profile of the load that has just begun.
func (b *bench) profile(url string) {
	answer, err := http.Get(fmt.Sprintf("%s?seconds=%d", url, max(1, int(b.span/time.Second))))
	if err != nil {
		say("profile: %v", err)
		return
	}
	defer answer.Body.Close()
	f, err := os.CreateTemp(b.profiles, "*.pprof")
	if err == nil {
		_, err = io.Copy(f, answer.Body)
		f.Close()
	}
	if err != nil {
		say("profile: %v", err)
	}
}
