"""The usual service around a model, to compare with: FastAPI, pydantic, joblib, and scikit-learn's interface.

It is kept as favourable as such a service can be: features come ready in the request, nothing is looked up,
recorded or decided, one thread per prediction, no access log. The model is a pickle, which is code: this file
is the only place of the repository where one is written or read, and only one that it has made itself.

    python -m benchmarks.peer_fastapi MODEL.joblib PORT
"""

import sys
from pathlib import Path

import numpy as np


def dump(model_text: Path, target: Path) -> list[str]:
    """Write the LightGBM text as the pickled `LGBMClassifier` it came from; return the names of features."""
    import joblib
    import lightgbm
    from sklearn.preprocessing import LabelEncoder

    booster = lightgbm.Booster(model_file=str(model_text))
    classifier = lightgbm.LGBMClassifier(n_jobs=1)
    classifier._Booster = booster
    classifier._n_features = classifier._n_features_in = booster.num_feature()
    classifier._n_classes, classifier._classes = 2, np.array([0, 1])
    classifier._le = LabelEncoder().fit([0, 1])
    classifier.fitted_ = True
    joblib.dump(classifier, target)
    names: list[str] = booster.feature_name()
    return names


def serve(model: Path, port: int) -> None:
    """Serve the pickled model, as tutorials do."""
    import joblib
    import uvicorn
    from fastapi import FastAPI
    from pydantic import create_model

    classifier = joblib.load(model)
    names = classifier.booster_.feature_name()
    fields = dict.fromkeys(names, (float | None, None))
    row_type = create_model("Row", **fields)
    app = FastAPI()

    @app.post("/predict")
    def predict(row: row_type) -> dict[str, float | str]:  # type: ignore[valid-type]
        values = [getattr(row, name) for name in names]
        x = np.array([values], dtype=np.float64)
        score = float(classifier.predict_proba(x)[0, 1])
        return {"risk_score": score, "recommendation": "block" if score >= 0.9 else "allow"}

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", access_log=False)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
