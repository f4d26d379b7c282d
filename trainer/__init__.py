"""Learning: prototypes, distillation, calibration and the job worker."""
