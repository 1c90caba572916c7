// The process's signal handlers, kept across libraries that install their own.
#ifndef SHAMMAH_ORT_SIGNALS_H
#define SHAMMAH_ORT_SIGNALS_H

typedef struct signals signals;

// signals_save is NULL when there is no memory; restoring NULL does nothing. signals_restore frees what it is given.
signals *signals_save(void);
void signals_restore(signals *s);

#endif
