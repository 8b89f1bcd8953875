//go:build race

package testenv

// raceDetector says that everything takes some times as much memory.
const raceDetector = true
