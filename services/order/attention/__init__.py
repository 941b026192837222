"""What needs a person: raised by sagas and by the watcher, cleared when it is over, dealt with by operators."""
