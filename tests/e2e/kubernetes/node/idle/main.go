// Command idle is what test pods run: it prints its environment and then does nothing until it is told to end.
//
//	idle [-for DURATION] [-exit STATUS]
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	duration := flag.Duration("for", 0, "end by itself after this time; 0 waits for SIGTERM")
	status := flag.Int("exit", 0, "the exit status")
	flag.Parse()

	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	for _, variable := range os.Environ() {
		fmt.Println(variable)
	}
	var timeout <-chan time.Time // nil: never
	if *duration > 0 {
		timeout = time.After(*duration)
	}
	select {
	case <-signals:
	case <-timeout:
	}
	os.Exit(*status)
}
