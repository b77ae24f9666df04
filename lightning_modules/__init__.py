"""One training, from audio to scores; knows nothing of studies, Optuna or MLflow."""
