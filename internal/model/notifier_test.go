package model

import "testing"

func TestNotifier(t *testing.T) {
	var n Notifier
	n.Wake() // nobody waits
	first, second := n.Wait(), n.Wait()
	select {
	case <-first:
		t.Fatal("woken without an event")
	default:
	}
	n.Wake()
	<-first
	<-second
	select {
	case <-n.Wait():
		t.Error("an event is told twice")
	default:
	}
}
